//! OpenID Connect Back-Channel Logout 1.0.

use http::{Method, header::ALLOW};
use serde_json::json;
use tower_introspect::{
    jose::Algorithm,
    test_util::{AuthorizationServer, Defect, Endpoint},
};

use super::*;
use crate::support::AUDIENCE;

fn ok() -> (StatusCode, String) {
    (StatusCode::OK, String::new())
}

/// Delivers a token that must be refused with this description, and changes nothing.
async fn refused(world: &World, service: &LogoutReceiver, token: &str) -> String {
    let before = world.api.revocations().len();
    let (status, told) = deliver(service, token).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{told}");
    assert_eq!(world.api.revocations().len(), before, "{told}");
    told.strip_prefix("invalid_request: ").unwrap().to_owned()
}

#[tokio::test]
async fn l1_only_a_posted_form_with_one_logout_token_is_read() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let token = world.server.logout_token(CLIENT).subject("alice").mint();
    for method in [Method::GET, Method::PUT, Method::HEAD, Method::OPTIONS] {
        let mut request = form(format!("logout_token={token}"));
        *request.method_mut() = method;
        let response = send(&service, request).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "POST");
    }
    let bad = (StatusCode::BAD_REQUEST, "invalid_request: the body is not a form".to_owned());
    for content_type in ["application/json", "application/logout+jwt", "text/plain", ""] {
        let mut request = form(format!("logout_token={token}"));
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        assert_eq!(outcome(send(&service, request).await).await, bad);
    }
    let mut request = form(format!("logout_token={token}"));
    request.headers_mut().remove("content-type");
    assert_eq!(outcome(send(&service, request).await).await, bad);
    let told = "invalid_request: the form does not have exactly one logout_token";
    for body in [
        String::new(),
        format!("token={token}"),
        format!("logout_token={token}&logout_token={token}"),
    ] {
        let answer = outcome(send(&service, form(body)).await).await;
        assert_eq!(answer, (StatusCode::BAD_REQUEST, told.to_owned()));
    }
    assert!(world.api.revocations().is_empty());
    // Other parameters are ignored, and so are parameters of the media type.
    let mut request = form(format!("state=7&logout_token={token}&x"));
    let charset = "application/x-www-form-urlencoded; charset=utf-8".parse().unwrap();
    request.headers_mut().insert("content-type", charset);
    assert_eq!(outcome(send(&service, request).await).await, ok());
    assert_eq!(world.api.revocations().len(), 1);
}

#[tokio::test]
async fn bodies_are_limited_in_length() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    for length in [16 * 1024 + 1, 1 << 20] {
        let body = format!("logout_token={}", "a".repeat(length));
        let response = send(&service, form(body)).await;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_are_limited_in_time() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = world.api.logout_service::<Full<Bytes>>(CLIENT);
    let request = form("").map(|_| endless());
    let start = tokio::time::Instant::now();
    let Ok(response) = service.oneshot(request).await;
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(start.elapsed(), 10 * SEC);
}

#[tokio::test(start_paused = true)]
async fn l2_every_defect_of_a_jwt_is_refused() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let token = || world.server.logout_token(CLIENT).subject("alice").session("s");
    for defect in Defect::ALL {
        // They are about access tokens, or the length of the body.
        if matches!(
            defect,
            Defect::NotYetValid
                | Defect::NoExpiry
                | Defect::Bound
                | Defect::LogoutToken
                | Defect::TooLong
        ) {
            continue;
        }
        let (status, told) = deliver(&service, &token().with_defect(defect).mint()).await;
        // Another key may verify it: that is known once the keys were fetched again.
        let may_wait = matches!(
            defect,
            Defect::CorruptSignature
                | Defect::EmbeddedKey
                | Defect::ForeignKey
                | Defect::NoSignature
                | Defect::UnknownKey
                | Defect::WrongAlg
        );
        let expected = if may_wait { 503 } else { 400 };
        assert!([400, expected].contains(&status.as_u16()), "{defect}: {status} {told}");
        assert!(world.api.revocations().is_empty(), "{defect}");
    }
    tokio::time::sleep(60 * SEC).await;
    assert_eq!((service.pending(), world.api.revocations().len()), (0, 0));
    for (claim, value) in [
        ("iss", json!("https://other.example.com")),
        ("iss", json!([ISSUER])),
        ("aud", json!(AUDIENCE)),
        ("aud", json!([])),
        ("aud", json!(["other"])),
        ("aud", json!([CLIENT, 7])),
        ("aud", json!({"a": CLIENT})),
        ("iat", json!("1800000000")),
        ("iat", json!(1_800_000_000_000_i64)),
        ("iat", json!(1_800_000_000 + 3600)),
        ("iat", json!(1_800_000_000 - 3600)),
        ("exp", json!(1_800_000_000 - 31)),
        ("exp", json!(null)),
        ("jti", json!(7)),
        ("jti", json!("")),
    ] {
        refused(&world, &service, &token().claim(claim, value).mint()).await;
    }
    for claim in ["iss", "aud", "iat", "jti", "events"] {
        refused(&world, &service, &token().without(claim).mint()).await;
    }
    // The audience may be an array, and `exp` is not required.
    for token in [token().claim("aud", json!(["other", CLIENT])), token().without("exp")] {
        assert_eq!(deliver(&service, &token.mint()).await, ok());
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn l2_no_secret_signs_a_logout_token() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let token = || world.server.logout_token(CLIENT).subject("alice");
    for token in [
        token().unsigned().mint(),
        token().with_defect(Defect::PublicKeyAsSecret).mint(),
        token().header("alg", "none").mint(),
        token().header("alg", "HS256").mint(),
    ] {
        refused(&world, &service, &token).await;
    }
    let other = AuthorizationServer::new("https://other.example.com");
    let other = other.with_clock(world.clock.clone());
    let foreign = other.logout_token(CLIENT).subject("alice");
    assert_eq!(refused(&world, &service, &foreign.mint()).await, "its iss is not trusted");
}

#[tokio::test]
async fn l2_every_asymmetric_algorithm_is_accepted() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA] {
        let token = world.server.logout_token(CLIENT).subject("alice").algorithm(algorithm);
        assert_eq!(deliver(&service, &token.mint()).await, ok(), "{algorithm:?}");
    }
}

#[tokio::test]
async fn l2_client_may_have_another_identifier_at_an_issuer() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world).client_at(ISSUER, "other");
    let token = |client| world.server.logout_token(client).subject("alice").mint();
    assert_eq!(refused(&world, &service, &token(CLIENT)).await, "its aud is another client");
    assert_eq!(deliver(&service, &token("other")).await, ok());
}

#[tokio::test]
async fn l3_subject_or_session_is_named_in_text() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let token = || world.server.logout_token(CLIENT);
    let neither = token().without("sub").without("sid").mint();
    assert_eq!(refused(&world, &service, &neither).await, "both sub and sid are missing");
    for (claim, value) in
        [("sub", json!(7)), ("sub", json!("")), ("sid", json!(["s"])), ("sid", json!(null))]
    {
        refused(&world, &service, &token().subject("a").claim(claim, value).mint()).await;
    }
}

#[tokio::test]
async fn l4_events_is_an_object_with_the_event_as_an_object() {
    const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let token =
        |events| world.server.logout_token(CLIENT).subject("a").claim("events", events).mint();
    for events in [
        json!(null),
        json!([]),
        json!([EVENT]),
        json!(EVENT),
        json!({}),
        json!({"https://example.com/other": {}}),
        json!({EVENT: null}),
        json!({EVENT: true}),
        json!({EVENT: []}),
    ] {
        let told = refused(&world, &service, &token(events)).await;
        assert_eq!(told, "events has no back-channel logout");
    }
    // Keycloak adds a member that is no object.
    let events = json!({EVENT: {"a": 1}, "revoke_offline_access": true});
    assert_eq!(deliver(&service, &token(events)).await, ok());
}

#[tokio::test]
async fn l5_nonce_is_refused() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    for nonce in [json!("n"), json!(null)] {
        let token = world.server.logout_token(CLIENT).subject("alice").claim("nonce", nonce);
        let told = refused(&world, &service, &token.mint()).await;
        assert_eq!(told, "it has a nonce, as ID tokens do");
    }
}

#[tokio::test]
async fn l6_other_tokens_of_the_issuer_are_refused_in_its_place() {
    let world = World::new(Issuer::hybrid(ISSUER, auth()));
    let service = receiver(&world);
    let server = &world.server;
    for token in [
        server.jwt().subject("alice").audience(CLIENT).mint(),
        server.jwt().subject("alice").audience(CLIENT).typ("JWT").mint(),
        server.id_token().subject("alice").audience(CLIENT).mint(),
        server.security_event(CLIENT).of_subject("alice").session_revoked().mint(),
        server.opaque().subject("alice").mint(),
        server.refresh_token().subject("alice").mint(),
    ] {
        refused(&world, &service, &token).await;
    }
    for typ in ["logout+jwt", "application/logout+jwt", "LOGOUT+JWT", "JWT"] {
        let token = server.logout_token(CLIENT).subject("alice").typ(typ).mint();
        assert_eq!(deliver(&service, &token).await, ok(), "{typ}");
    }
    let untyped = || server.logout_token(CLIENT).subject("alice").without_header("typ").mint();
    assert_eq!(deliver(&service, &untyped()).await, ok());
    let strict = receiver(&world).strict_typ();
    let told = "its typ is not that of a logout token";
    assert_eq!(refused(&world, &strict, &untyped()).await, told);
    let plain = server.logout_token(CLIENT).subject("alice").typ("JWT").mint();
    assert_eq!(refused(&world, &strict, &plain).await, told);
}

/// "Two of one" is the same answer, and no second effect.
#[tokio::test]
async fn l7_repeated_delivery_is_answered_as_the_first_and_changes_nothing() {
    let world = World::new(Issuer::introspect(ISSUER, auth()));
    let service = receiver(&world);
    let token = world.opaque();
    assert_eq!((world.status(&token).await, world.asked()), (200, 1));
    let logout = world.server.logout_token(CLIENT).subject("alice").mint();
    assert_eq!(deliver(&service, &logout).await, ok());
    // The server says that it is still active.
    assert_eq!((world.status(&token).await, world.asked()), (200, 2));
    assert_eq!(deliver(&service, &logout).await, ok());
    assert_eq!((world.status(&token).await, world.asked()), (200, 2));
    // Another token with the same `jti` is another logout: a server may count wrong.
    world.clock.step(SEC);
    let again = world.server.logout_token(CLIENT).subject("alice").claim("jti", jti_of(&logout));
    assert_eq!(deliver(&service, &again.mint()).await, ok());
    assert_eq!((world.status(&token).await, world.asked()), (200, 3));
}

#[tokio::test]
async fn l8_session_ends_alone_and_a_subject_ends_with_all_sessions() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let token = |subject: &str, sid: &str| {
        world.server.jwt().subject(subject).session(sid).audience(AUDIENCE).mint()
    };
    let all = [token("alice", "one"), token("alice", "two"), token("bob", "three")];
    let states = async || {
        let mut states = Vec::new();
        for token in &all {
            states.push(world.status(token).await);
        }
        states
    };
    assert_eq!(states().await, [200, 200, 200]);
    let logout = || world.server.logout_token(CLIENT);
    deliver(&service, &logout().without("sub").session("one").mint()).await;
    assert_eq!(states().await, [401, 200, 200]);
    deliver(&service, &logout().subject("bob").session("another").mint()).await;
    assert_eq!(states().await, [401, 200, 200]);
    deliver(&service, &logout().subject("alice").mint()).await;
    assert_eq!(states().await, [401, 401, 200]);
    // Where tokens have no `sid`.
    let by_subject = receiver(&world).cut_by_subject();
    deliver(&by_subject, &logout().subject("bob").session("another").mint()).await;
    assert_eq!(states().await, [401, 401, 401]);
}

#[tokio::test]
async fn l8_tokens_issued_after_the_logout_are_admitted() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let before = world.jwt();
    let logout = world.server.logout_token(CLIENT).subject("alice").mint();
    world.clock.step(SEC);
    let after = world.jwt();
    // Its delivery takes a minute.
    world.clock.step(60 * SEC);
    assert_eq!(deliver(&service, &logout).await, ok());
    assert_eq!((world.status(&before).await, world.status(&after).await), (401, 200));
}

#[tokio::test]
async fn l9_responses_are_those_of_the_specification_and_not_stored() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let token = world.server.logout_token(CLIENT).subject("alice").mint();
    let accepted = send(&service, form(format!("logout_token={token}"))).await;
    assert_eq!(accepted.status(), StatusCode::OK);
    assert_eq!(accepted.headers()[CACHE_CONTROL], "no-store");
    let refused = send(&service, form("logout_token=x")).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(refused.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(refused.headers()["content-type"], "application/json");
    let (_, told) = outcome(refused).await;
    assert_eq!(told, "invalid_request: it is not a signed JWT");
}

#[tokio::test]
async fn l10_unknown_claims_are_ignored() {
    let world = World::new(Issuer::jwt(ISSUER));
    let token = world.server.logout_token(CLIENT).subject("alice").claim("typ", "Logout");
    let token = token.claim("x", json!({"y": [1]})).mint();
    assert_eq!(deliver(&receiver(&world), &token).await, ok());
}

#[tokio::test]
async fn l11_effect_holds_with_the_next_request_in_every_mode() {
    for issuer in modes() {
        let name = format!("{issuer:?}");
        let world = World::new(issuer);
        let service = receiver(&world);
        let jwt = || world.server.jwt().subject("alice").session("s").audience(AUDIENCE).mint();
        let tokens = [jwt(), jwt()];
        for token in &tokens {
            assert_eq!(world.status(token).await, 200, "{name}");
        }
        world.server.end_session("alice", "s");
        let logout = world.server.logout_token(CLIENT).subject("alice").session("s").mint();
        assert_eq!(deliver(&service, &logout).await, ok());
        for token in &tokens {
            assert_eq!(world.status(token).await, 401, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn server_that_tells_before_it_revokes_is_asked_again_five_seconds_later() {
    let world = World::new(Issuer::introspect(ISSUER, auth()));
    let service = receiver(&world);
    let token = world.opaque();
    assert_eq!(world.status(&token).await, 200);
    tokio::time::advance(SEC).await;
    let logout = world.server.logout_token(CLIENT).subject("alice").mint();
    assert_eq!(deliver(&service, &logout).await, ok());
    // The server has not revoked it yet.
    assert_eq!((world.status(&token).await, world.asked()), (200, 2));
    world.server.revoke(&token);
    tokio::time::sleep(5 * SEC + SEC / 10).await;
    assert_eq!((world.status(&token).await, world.asked()), (401, 3));
}

#[tokio::test(start_paused = true)]
async fn facts_that_are_asked_for_again_cost_one_introspection_more() {
    let world = World::new(Issuer::introspect(ISSUER, auth()));
    let service = receiver(&world);
    let token = world.opaque();
    assert_eq!((world.status(&token).await, world.asked()), (200, 1));
    tokio::time::advance(SEC).await;
    let logout = world.server.logout_token(CLIENT).subject("alice").mint();
    assert_eq!(deliver(&service, &logout).await, ok());
    for _ in 0..15 {
        assert_eq!(world.status(&token).await, 200);
        tokio::time::sleep(SEC).await;
    }
    assert_eq!(world.asked(), 3);
}

#[tokio::test]
async fn issuer_that_is_only_introspected_has_its_published_keys_fetched_once() {
    let world = World::new(Issuer::introspect(ISSUER, auth()));
    let service = receiver(&world);
    for _ in 0..3 {
        let token = world.server.logout_token(CLIENT).subject("alice").mint();
        assert_eq!(deliver(&service, &token).await, ok());
    }
    assert_eq!(world.server.calls(Endpoint::Jwks), 1);
}

#[tokio::test]
async fn key_that_rotates_between_two_logouts_is_fetched() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    for subject in ["alice", "bob"] {
        let token = world.server.logout_token(CLIENT).subject(subject).mint();
        assert_eq!(deliver(&service, &token).await, ok());
        world.server.rotate_keys();
    }
    assert_eq!(world.api.revocations().len(), 2);
}

#[tokio::test]
async fn faults_quote_nothing_of_the_token_and_nothing_of_the_configuration() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = receiver(&world);
    let secret = "f00dcafe";
    for claim in ["iss", "aud", "iat", "jti", "events", "sub", "sid", "exp", "nonce"] {
        let token = world.server.logout_token(CLIENT).claim(claim, json!([secret])).mint();
        let told = refused(&world, &service, &token).await;
        for hidden in [secret, CLIENT, ISSUER] {
            assert!(!told.contains(hidden), "{told}");
        }
    }
    assert!(!format!("{service:?}").contains(secret));
}
