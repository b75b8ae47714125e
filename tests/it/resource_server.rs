//! `ResourceServer` with the authorization server of the test kit.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use tower_introspect::{
    ClientAuth, ErrorKind, Issuer, ResourceServer,
    clock::UnixTime,
    jose::Algorithm,
    jwt::{KeySet, Profile},
    test_util::{AuthorizationServer, Client, Endpoint, Fault, TestClock},
    verify::Freshness,
};

use crate::support::{AUDIENCE, ISSUER, ask, challenge, refusal, request};

fn authority() -> (AuthorizationServer, TestClock) {
    let clock = TestClock::new(UnixTime::from_secs(1_800_000_000));
    let server = AuthorizationServer::new(ISSUER)
        .with_clock(clock.clone())
        .with_client(Client::new("api", "s3cret"));
    (server, clock)
}

fn api(server: &AuthorizationServer, clock: &TestClock, issuer: Issuer) -> ResourceServer {
    ResourceServer::builder(AUDIENCE)
        .issuer(issuer)
        .transport(server.transport())
        .clock(clock.clone())
        .build()
        .expect("invalid configuration")
}

/// A resource server without a cache.
fn uncached_api(server: &AuthorizationServer, clock: &TestClock) -> ResourceServer {
    ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::introspect(ISSUER, auth()))
        .transport(server.transport())
        .clock(clock.clone())
        .max_age(Duration::ZERO)
        .build()
        .expect("invalid configuration")
}

fn auth() -> ClientAuth {
    ClientAuth::basic("api", "s3cret")
}

async fn present(api: &ResourceServer, token: &str) -> Response<Bytes> {
    ask(&api.layer(), bearer(token)).await
}

fn bearer(token: &str) -> Request<Bytes> {
    request(&[("authorization", &format!("Bearer {token}"))])
}

#[tokio::test(start_paused = true)]
async fn a_jwt_is_verified_with_keys_found_by_discovery() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::jwt(ISSUER));
    let token = server.jwt().subject("alice").audience(AUDIENCE).mint();
    for _ in 0..3 {
        assert_eq!(present(&api, &token).await.body(), "alice");
    }
    assert_eq!(server.calls(Endpoint::Discovery), 1);
    assert_eq!(server.calls(Endpoint::Jwks), 1);
    assert_eq!(server.calls(Endpoint::Introspection), 0);
}

#[tokio::test(start_paused = true)]
async fn each_refusal_of_a_jwt_has_its_reason() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::jwt(ISSUER));
    let jwt = || server.jwt().audience(AUDIENCE);
    for (token, kind) in [
        (
            jwt().expires_in(Duration::ZERO).expires_at(UnixTime::from_secs(1)).mint(),
            ErrorKind::Expired,
        ),
        (server.jwt().audience("https://other").mint(), ErrorKind::WrongAudience),
        (jwt().without("aud").mint(), ErrorKind::MissingClaim("aud")),
        (jwt().without("exp").mint(), ErrorKind::MissingClaim("exp")),
        (jwt().claim("iss", "https://other.example.com").mint(), ErrorKind::WrongIssuer),
        ("opaque".to_owned(), ErrorKind::MalformedToken),
    ] {
        let response = present(&api, &token).await;
        assert_eq!(refusal(&response), Some(kind));
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            challenge(response.headers()),
            Some("Bearer realm=\"https://api.example.com\", error=\"invalid_token\"")
        );
    }
    let id = server.id_token().audience(AUDIENCE).mint();
    assert!(matches!(refusal(&present(&api, &id).await), Some(ErrorKind::WrongTokenKind(_))));
}

#[tokio::test(start_paused = true)]
async fn without_cache_revoked_token_is_refused_on_the_next_request() {
    let (server, clock) = authority();
    let api = uncached_api(&server, &clock);
    let token = server.opaque().subject("alice").audience(AUDIENCE).mint();
    assert_eq!(present(&api, &token).await.body(), "alice");
    server.revoke(&token);
    let response = present(&api, &token).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refusal(&response), Some(ErrorKind::Inactive));
    assert_eq!(server.calls(Endpoint::Introspection), 2);
}

#[tokio::test(start_paused = true)]
async fn audience_of_introspected_tokens_is_checked() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::introspect(ISSUER, auth()));
    let token = server.opaque().audience("https://other.example.com").mint();
    assert_eq!(refusal(&present(&api, &token).await), Some(ErrorKind::WrongAudience));
}

#[tokio::test(start_paused = true)]
async fn rfc7662_2_2_active_token_past_its_exp_is_refused() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::introspect(ISSUER, auth()));
    let answer = serde_json::json!({"active": true, "aud": AUDIENCE, "exp": 1});
    let token = server.opaque().introspected_as(answer).mint();
    assert_eq!(refusal(&present(&api, &token).await), Some(ErrorKind::Expired));
}

#[tokio::test(start_paused = true)]
async fn hybrid_introspects_opaque_tokens_only() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::hybrid(ISSUER, auth()));
    let jwt = server.jwt().subject("alice").audience(AUDIENCE).mint();
    let opaque = server.opaque().subject("bob").audience(AUDIENCE).mint();
    assert_eq!(present(&api, &jwt).await.body(), "alice");
    assert_eq!(server.calls(Endpoint::Introspection), 0);
    assert_eq!(present(&api, &opaque).await.body(), "bob");
    assert_eq!(server.calls(Endpoint::Introspection), 1);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_unknown_issuers_cause_no_call() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::hybrid(ISSUER, auth()));
    let stranger = AuthorizationServer::new("https://evil.example.com").with_clock(clock.clone());
    let token = stranger
        .jwt()
        .audience(AUDIENCE)
        .header("jku", "https://evil.example.com/jwks")
        .header("x5u", "https://evil.example.com/cert")
        .mint();
    assert_eq!(refusal(&present(&api, &token).await), Some(ErrorKind::UnknownIssuer));
    assert!(server.unmatched_requests().is_empty());
    for endpoint in [Endpoint::Discovery, Endpoint::Jwks, Endpoint::Introspection] {
        assert_eq!(server.calls(endpoint), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn rfc8725_3_8_keys_of_one_issuer_verify_no_tokens_of_another() {
    let (server, clock) = authority();
    let other = AuthorizationServer::new("https://other.example.com").with_clock(clock.clone());
    let keys = KeySet::from_jwks(other.jwks().to_string().as_bytes()).unwrap();
    let api = ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::jwt(ISSUER))
        .issuer(Issuer::jwt("https://other.example.com").configure_jwt(move |jwt| jwt.keys(keys)))
        .transport(server.transport())
        .clock(clock)
        .build()
        .unwrap();
    let own = other.jwt().subject("carol").audience(AUDIENCE).mint();
    assert_eq!(present(&api, &own).await.body(), "carol");
    let forged = other.jwt().claim("iss", ISSUER).audience(AUDIENCE).mint();
    let response = present(&api, &forged).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(matches!(refusal(&response), Some(ErrorKind::UnknownKey | ErrorKind::BadSignature)));
}

#[tokio::test(start_paused = true)]
async fn hanging_authorization_server_is_503_at_the_timeout() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::introspect(ISSUER, auth()));
    api.warm().await.unwrap();
    server.inject(Endpoint::Introspection, Fault::hang());
    let token = server.opaque().audience(AUDIENCE).mint();
    let started = tokio::time::Instant::now();
    let response = present(&api, &token).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(challenge(response.headers()), None);
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_authorization_server_are_not_blamed_on_the_client() {
    let (server, clock) = authority();
    let api = uncached_api(&server, &clock);
    let token = server.opaque().subject("alice").audience(AUDIENCE).mint();
    let status = |code| Fault::status(StatusCode::from_u16(code).unwrap());
    for (fault, expected) in [
        (status(500), 503),
        (status(429).with_retry_after(Duration::from_secs(9)), 503),
        (Fault::unreachable(), 503),
        (Fault::truncate(), 503),
        (status(401), 503),
        (status(403), 503),
        (Fault::html(), 502),
        (Fault::garbage(), 502),
        (Fault::oversize(5 << 20), 502),
        (Fault::redirect("https://evil.example.com/"), 502),
    ] {
        server.inject(Endpoint::Introspection, fault.clone());
        let response = present(&api, &token).await;
        assert_eq!(response.status().as_u16(), expected, "{fault:?}");
        assert_eq!(challenge(response.headers()), None);
        server.clear(Endpoint::Introspection);
        // It recovers within a minute.
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(present(&api, &token).await.body(), "alice", "{fault:?}");
    }
    assert!(server.unmatched_requests().is_empty(), "a redirect was followed");
}

#[tokio::test(start_paused = true)]
async fn rejected_credentials_of_the_service_are_not_blamed_on_the_client() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::introspect(ISSUER, ClientAuth::basic("api", "wrong")));
    let token = server.opaque().audience(AUDIENCE).mint();
    let response = present(&api, &token).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(refusal(&response), Some(ErrorKind::CredentialsRejected));
}

#[tokio::test(start_paused = true)]
async fn cold_start_without_the_server_recovers() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::jwt(ISSUER));
    let token = server.jwt().subject("alice").audience(AUDIENCE).mint();
    for endpoint in [Endpoint::Discovery, Endpoint::Jwks] {
        server.inject(endpoint, Fault::unreachable());
        let error = api.warm().await.unwrap_err();
        assert!(error.to_string().contains(ISSUER), "{error}");
        assert_eq!(present(&api, &token).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        server.clear(endpoint);
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(present(&api, &token).await.body(), "alice");
}

#[test]
fn build_reports_all_problems_together() {
    let (server, _) = authority();
    let problems = ResourceServer::builder("")
        .issuer(Issuer::jwt("http://as.example.com"))
        .issuer(Issuer::jwt("https://twice.example.com"))
        .issuer(Issuer::jwt("https://twice.example.com"))
        .issuer(Issuer::introspect("https://as.example.com", ClientAuth::basic("", "s3cret")))
        .issuer(
            Issuer::introspect(ISSUER, auth())
                .configure_introspection(|it| it.endpoint("nonsense")),
        )
        .freshness(Freshness::Live)
        .transport(server.transport())
        .build()
        .unwrap_err();
    let text = problems.to_string();
    for name in [
        "audience: ",
        "issuer `http://as.example.com`.jwt.issuer: ",
        "issuer: `https://twice.example.com` is configured twice",
        "issuer `https://as.example.com`.introspection.",
        "issuer `https://as.example.com`.introspection.endpoint: ",
        "freshness: tokens of `http://as.example.com` can't be introspected",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    assert!(!text.contains("s3cret"));
}

#[test]
fn build_does_no_io() {
    let (server, clock) = authority();
    let _ = api(&server, &clock, Issuer::hybrid(ISSUER, auth()));
    assert_eq!(server.calls(Endpoint::Discovery), 0);
}

#[tokio::test(start_paused = true)]
async fn options_of_the_jwt_verifier_are_set_through_the_issuer() {
    let (server, clock) = authority();
    let strict = api(
        &server,
        &clock,
        Issuer::jwt(ISSUER)
            .configure_jwt(|jwt| jwt.profile(Profile::Rfc9068).algorithms([Algorithm::EdDSA])),
    );
    let plain = || server.jwt().subject("alice").audience(AUDIENCE).typ("JWT");
    let default = api(&server, &clock, Issuer::jwt(ISSUER));
    assert_eq!(refusal(&present(&default, &plain().mint()).await), None);
    let algorithm = refusal(&present(&strict, &plain().mint()).await);
    assert_eq!(algorithm, Some(ErrorKind::UnsupportedAlgorithm));
    let signed = plain().algorithm(Algorithm::EdDSA).mint();
    let other = ErrorKind::WrongTokenKind(tower_introspect::TokenKind::Other);
    assert_eq!(refusal(&present(&strict, &signed).await), Some(other));
}

#[tokio::test(start_paused = true)]
async fn debug_shows_no_secret() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::hybrid(ISSUER, auth()));
    assert!(!format!("{api:?} {:?}", api.layer()).contains("s3cret"));
    let response = present(&api, "t0psecret").await;
    assert!(!format!("{response:?}").contains("t0psecret"));
}

/// Requests with invalid tokens get no 500 about the configuration.
#[tokio::test(start_paused = true)]
async fn invalid_token_is_refused_as_invalid_even_if_no_live_response_is_possible() {
    let (server, clock) = authority();
    let api = api(&server, &clock, Issuer::jwt(ISSUER));
    let live = api.layer().freshness(Freshness::Live);
    let bad = server.jwt().audience(AUDIENCE).with_corrupt_signature().mint();
    assert_eq!(ask(&live, bearer(&bad)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&live, bearer("garbage")).await.status(), StatusCode::UNAUTHORIZED);
    let good = server.jwt().audience(AUDIENCE).mint();
    assert_eq!(refusal(&ask(&live, bearer(&good)).await), Some(ErrorKind::Misconfigured));
}

#[test]
fn empty_token_prefix_is_reported() {
    let (server, clock) = authority();
    let builder = ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::introspect(ISSUER, auth()).token_prefix(""))
        .transport(server.transport())
        .clock(clock);
    let problems = builder.build().unwrap_err().to_string();
    assert!(problems.contains("token_prefix: "), "{problems}");
}
