//! Readiness probes of load balancers.

use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_introspect::{
    ErrorKind, Issuer,
    test_util::{Endpoint, Fault},
    verify::{BreakerState, ServerState},
};

use crate::{
    support::ISSUER,
    world::{World, auth, remote},
};

const OTHER: &str = "https://other.example.com";

async fn probe_by(world: &World, method: Method) -> Response<Bytes> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    world.api.readiness_service::<Bytes>().oneshot(request).await.unwrap()
}

/// Returns the status, and the state of the first issuer.
async fn probe(world: &World) -> (u16, Value) {
    let response = probe_by(world, Method::GET).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    let status = response.status().as_u16();
    assert_eq!(body["ready"], status == 200);
    (status, body["issuers"][0].clone())
}

async fn settle() {
    // Waits for background tasks, which take the test kit no time.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn process_without_keys_is_not_ready_and_fetches_them_without_a_request() {
    let world = World::new(Issuer::jwt(ISSUER));
    let (status, issuer) = probe(&world).await;
    assert_eq!((status, issuer), (503, json!({"issuer": ISSUER, "ready": false})));
    settle().await;
    let (status, issuer) = probe(&world).await;
    assert_eq!(status, 200);
    assert_eq!(issuer["keys_age"], 0);
    assert_eq!((&issuer["reachable"], &issuer["breaker"]), (&json!(true), &Value::Null));
    assert_eq!(world.status(&world.jwt()).await, 200);
}

#[tokio::test(start_paused = true)]
async fn introspecting_process_is_ready_with_its_endpoint() {
    let world = World::new(remote());
    assert_eq!(probe(&world).await.0, 503);
    settle().await;
    let (status, issuer) = probe(&world).await;
    assert_eq!((status, &issuer["breaker"]), (200, &json!("closed")));
    assert_eq!(world.asked(), 0, "a token was introspected");
}

#[tokio::test(start_paused = true)]
async fn probes_cause_no_more_fetches_than_tokens() {
    let world = World::new(Issuer::jwt(ISSUER));
    world.server.inject(Endpoint::Discovery, Fault::unreachable());
    world.server.inject(Endpoint::Jwks, Fault::unreachable());
    for _ in 0..1_000 {
        assert_eq!(probe(&world).await.0, 503);
        settle().await;
    }
    assert!(
        world.server.calls(Endpoint::Discovery) <= 2,
        "{}",
        world.server.calls(Endpoint::Discovery)
    );
    let (_, issuer) = probe(&world).await;
    assert_eq!(issuer["failure"], "unavailable");
    assert_eq!(
        (&issuer["reachable"], &issuer["last_failure"]),
        (&json!(false), &json!("unavailable"))
    );
    // It becomes ready again without a request.
    world.server.clear(Endpoint::Discovery);
    world.server.clear(Endpoint::Jwks);
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(31)).await;
        probe(&world).await;
        settle().await;
    }
    assert_eq!(probe(&world).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn ready_process_sends_no_requests() {
    let world = World::new(Issuer::hybrid(ISSUER, auth()));
    world.api.warm().await.unwrap();
    let before = (world.server.calls(Endpoint::Discovery), world.server.calls(Endpoint::Jwks));
    for _ in 0..100 {
        assert_eq!(probe(&world).await.0, 200);
        settle().await;
    }
    let after = (world.server.calls(Endpoint::Discovery), world.server.calls(Endpoint::Jwks));
    assert_eq!((before, world.asked()), (after, 0));
}

/// All processes see the same outage. Cached tokens are admitted.
#[tokio::test(start_paused = true)]
async fn outage_is_reported_but_keeps_the_process_ready() {
    let world = World::new(remote());
    let token = world.opaque();
    assert_eq!(world.status(&token).await, 200);
    world.server.inject(Endpoint::Introspection, Fault::close());
    for n in 0..7 {
        assert_eq!(world.status(&format!("t{n}")).await, 503);
    }
    tokio::time::advance(Duration::from_secs(3)).await;
    let (status, issuer) = probe(&world).await;
    assert_eq!(status, 200);
    assert_eq!((&issuer["breaker"], &issuer["reachable"]), (&json!("open"), &json!(false)));
    assert_eq!(
        (&issuer["last_failure"], &issuer["called_ago"]),
        (&json!("unavailable"), &json!(3))
    );
    assert_eq!(world.status(&token).await, 200, "ready, but the token is refused");

    let readiness = &world.api.readiness()[0];
    assert_eq!(readiness.breaker(), Some(BreakerState::Open));
    assert_eq!((readiness.is_ready(), readiness.is_reachable()), (true, Some(false)));
    assert_eq!(readiness.last_call_failure(), Some(ErrorKind::Unavailable));
    assert!(readiness.last_call().is_some() && readiness.keys_fetched_at().is_none());
}

/// Tokens of clients do not show this, only a random token of the service itself does.
#[tokio::test(start_paused = true)]
async fn server_that_does_not_answer_as_it_should_is_reported() {
    let json = |status: u16, body: &'static str| {
        let response =
            Response::builder().status(status).header("content-type", "application/json");
        Fault::respond(response.body(Bytes::from_static(body.as_bytes())).unwrap())
    };
    for (fault, state) in [
        (json(200, r#"{"active":true,"sub":"all"}"#), ServerState::AcceptsAnything),
        (json(401, r#"{"error":"invalid_client"}"#), ServerState::RejectsCredentials),
        (Fault::status(StatusCode::FORBIDDEN), ServerState::RefusesEveryone),
        (Fault::status(StatusCode::TOO_MANY_REQUESTS), ServerState::Overloaded),
        (Fault::html(), ServerState::Broken),
        (Fault::unreachable(), ServerState::Unreachable),
    ] {
        let world = World::new(remote());
        world.api.warm().await.unwrap();
        assert_eq!(world.api.readiness()[0].server(), Some(ServerState::Unknown));
        world.server.inject(Endpoint::Introspection, fault);
        world.status("any").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (_, issuer) = probe(&world).await;
        assert_eq!(issuer["server"], state.as_str());
        world.server.clear(Endpoint::Introspection);
        tokio::time::sleep(Duration::from_secs(11)).await;
        world.status("other").await;
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        world.status("another").await;
        settle().await;
        assert_eq!(probe(&world).await.1["server"], Value::Null, "{state:?}");
        assert_eq!(world.api.readiness()[0].server(), Some(ServerState::Answers));
    }
}

/// A client can cause failures: some servers respond 400 to unusual tokens.
#[tokio::test(start_paused = true)]
async fn introspection_responses_do_not_affect_readiness() {
    let world = World::new(remote());
    world.api.warm().await.unwrap();
    for status in [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FOUND] {
        world.server.inject(Endpoint::Introspection, Fault::status(status));
        world.status("h0stile").await;
        let (ready, issuer) = probe(&world).await;
        assert_eq!((ready, &issuer["reachable"]), (200, &json!(true)), "{status}");
        assert!(!issuer.to_string().contains("h0stile"));
    }
}

#[tokio::test(start_paused = true)]
async fn failure_is_cleared_by_the_next_fetch_that_succeeds() {
    for by_token in [false, true] {
        let world = World::new(remote());
        world.api.warm().await.unwrap();
        // An endpoint that may have moved has the metadata fetched, which fails too.
        world.server.inject(Endpoint::Introspection, Fault::status(StatusCode::NOT_FOUND));
        world.server.inject(Endpoint::Discovery, Fault::unreachable());
        world.status("t1").await;
        settle().await;
        let (status, issuer) = probe(&world).await;
        assert_eq!((status, &issuer["failure"]), (200, &json!("unavailable")));

        world.server.clear(Endpoint::Introspection);
        world.server.clear(Endpoint::Discovery);
        tokio::time::advance(Duration::from_secs(2)).await;
        if by_token {
            assert_eq!(world.status(&world.opaque()).await, 200);
        } else {
            // The probe reports the failure for the last time.
            assert_eq!(probe(&world).await.1["failure"], "unavailable");
        }
        settle().await;
        let fetches = world.server.calls(Endpoint::Discovery);
        let (status, issuer) = probe(&world).await;
        assert_eq!(
            (status, &issuer["failure"], &issuer["failing_for"]),
            (200, &Value::Null, &Value::Null)
        );
        assert_eq!(issuer["reachable"], true);
        settle().await;
        assert_eq!(world.server.calls(Endpoint::Discovery), fetches, "nothing more to fetch");
    }
}

#[tokio::test(start_paused = true)]
async fn process_with_expired_keys_is_not_ready() {
    let world = World::new(Issuer::jwt(ISSUER));
    world.api.warm().await.unwrap();
    world.server.inject(Endpoint::Jwks, Fault::unreachable());
    tokio::time::sleep(Duration::from_secs(20 * 3_600)).await;
    let (status, issuer) = probe(&world).await;
    assert_eq!((status, &issuer["failure"]), (200, &json!("unavailable")));
    tokio::time::sleep(Duration::from_secs(5 * 3_600)).await;
    let (status, issuer) = probe(&world).await;
    assert_eq!(status, 503);
    assert!(issuer["keys_age"].as_u64().unwrap() > 24 * 3_600, "{issuer}");
}

#[tokio::test(start_paused = true)]
async fn all_issuers_must_be_ready_unless_one_suffices() {
    let gone = Issuer::jwt(OTHER);
    let world = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).issuer(gone));
    let _ = world.api.warm().await;
    assert_eq!(probe(&world).await.0, 503);
    let service = world.api.readiness_service::<Bytes>().any_issuer();
    let response = service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let response = service.without_details().oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.body(), r#"{"ready":true}"#);
}

#[tokio::test(start_paused = true)]
async fn rfc9110_9_3_2_only_get_and_head_are_allowed() {
    let world = World::new(Issuer::jwt(ISSUER));
    world.api.warm().await.unwrap();
    let (get, head) = (probe_by(&world, Method::GET).await, probe_by(&world, Method::HEAD).await);
    assert_eq!((get.status(), get.headers()), (head.status(), head.headers()));
    assert!(head.body().is_empty() && !get.body().is_empty());
    let post = probe_by(&world, Method::POST).await;
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(post.headers()["allow"], "GET, HEAD");
}

#[tokio::test(start_paused = true)]
async fn readiness_is_served_outside_of_the_layer() {
    let world = World::new(Issuer::jwt(ISSUER));
    world.api.warm().await.unwrap();
    let app: Router = Router::new()
        .route("/payments", get(async || ()))
        .layer(world.api.layer())
        .route_service("/ready", world.api.readiness_service::<Body>());
    let status = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(status("/ready").await, StatusCode::OK);
    assert_eq!(status("/payments").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn readiness_responds_outside_of_a_runtime() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = world.api.readiness_service::<Bytes>();
    let answer = std::thread::spawn(move || {
        futures_util::FutureExt::now_or_never(service.oneshot(Request::new(()))).unwrap().unwrap()
    });
    assert_eq!(answer.join().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}
