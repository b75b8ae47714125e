//! Requests that are refused.

use http::{Method, header::ALLOW};

use super::*;

#[tokio::test]
async fn typing_errors_are_refused_and_change_nothing() {
    let world = World::new(Issuer::jwt(ISSUER));
    order(&world, json!({"issuer": ISSUER, "subject": "bob"})).await;
    let jwt = world.jwt();
    for body in [
        json!({}),
        json!([]),
        json!(null),
        json!({"issuer": ISSUER}),
        json!({"subject": "alice"}),
        json!({"all": true}),
        json!({"issuer": "https://other.example.com", "subject": "alice"}),
        json!({"issuer": format!("{ISSUER}/"), "subject": "alice"}),
        json!({"issuer": ISSUER, "sub": "alice"}),
        json!({"issuer": ISSUER, "subject": "alice", "sesion": "one"}),
        json!({"issuer": ISSUER, "subject": "alice", "ask-anew": true}),
        json!({"issuer": ISSUER, "subject": ""}),
        json!({"issuer": ISSUER, "subject": 7}),
        json!({"issuer": ISSUER, "subject": ["alice"]}),
        json!({"issuer": ISSUER, "subject": null}),
        json!({"issuer": [ISSUER], "subject": "alice"}),
        json!({"issuer": ISSUER, "all": false}),
        json!({"issuer": ISSUER, "all": "true"}),
        json!({"issuer": ISSUER, "subject": "alice", "all": true}),
        json!({"issuer": ISSUER, "subject": "alice", "all": false}),
        json!({"issuer": ISSUER, "subject": "alice", "client": "web"}),
        json!({"issuer": ISSUER, "session": "one", "client": "web"}),
        json!({"issuer": ISSUER, "session": "one", "token_id": "x"}),
        json!({"issuer": ISSUER, "subject": "alice", "token_id": "x"}),
        json!({"issuer": ISSUER, "subject": "alice", "token": jwt}),
        json!({"issuer": ISSUER, "token": jwt}),
        json!({"token": jwt, "all": true}),
        json!({"token": ""}),
        json!({"token": "a b"}),
        json!({"token": "Bearer abc"}),
        json!({"token": 7}),
        json!({"token": jwt, "at": NOW}),
        json!({"token": "abc", "at": NOW}),
        json!({"issuer": ISSUER, "token_id": "x", "at": NOW}),
        json!({"issuer": ISSUER, "subject": "alice", "at": "1800000000"}),
        json!({"issuer": ISSUER, "subject": "alice", "at": null}),
        json!({"issuer": ISSUER, "subject": "alice", "at": NOW, "ask_anew": true}),
        json!({"issuer": ISSUER, "subject": "alice", "ask_anew": 1}),
        json!({"issuer": ISSUER, "subject": "alice", "ask_anew": "no"}),
    ] {
        let told = refused(&world, body.to_string()).await;
        for hidden in ["alice", ISSUER, "sesion", &jwt] {
            assert!(!told.contains(hidden), "{told}");
        }
    }
    let subject = format!("{{\"issuer\":\"{ISSUER}\",\"subject\":\"bob\",\"subject\":\"alice\"}}");
    let two = format!("{{\"issuer\":\"{ISSUER}\",\"all\":true}}{{}}");
    for body in ["", "{", "issuer=x", &subject, &two] {
        assert_eq!(refused(&world, body.to_owned()).await, "the body is not one JSON object");
    }
    assert_eq!(world.status(&jwt).await, 200);
}

#[tokio::test]
async fn other_methods_and_media_types_are_refused() {
    let world = World::new(Issuer::jwt(ISSUER));
    let (service, token) = (service(&world), staff(&world));
    let body = json!({"issuer": ISSUER, "subject": "alice"}).to_string();
    for method in [Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH] {
        let mut request = post(&token, body.clone());
        *request.method_mut() = method;
        let Ok(response) = service.clone().oneshot(request).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "GET, POST");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }
    // Those that a page of another origin can send without asking.
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let mut request = post(&token, body.clone());
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let (status, answer) = call(&service, request).await;
        assert_eq!((status, &answer["error_description"]), (400, &json!("the body is not JSON")));
    }
    assert!(world.api.revocations().is_empty());
}

#[tokio::test]
async fn bodies_are_limited_in_length() {
    let world = World::new(Issuer::jwt(ISSUER));
    for length in [16 * 1024, 1 << 20] {
        let body = json!({"issuer": ISSUER, "subject": "a".repeat(length)}).to_string();
        let Ok(response) = service(&world).oneshot(post(&staff(&world), body)).await;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert!(world.api.revocations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn bodies_are_limited_in_time_and_read_only_for_callers_that_are_admitted() {
    let world = World::new(Issuer::jwt(ISSUER));
    for (token, status, seconds) in [(staff(&world), 408, 10), (world.jwt(), 403, 0)] {
        let start = tokio::time::Instant::now();
        let Ok(response) = service(&world).oneshot(post(&token, "").map(|_| endless())).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(start.elapsed(), seconds * SEC);
    }
}
