//! One test for each vulnerability or bug that is known from similar software.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{
    ClientAuth, ErrorKind, IntrospectLayer, Issuer, Policy, RequireScope, ResourceServer,
    clock::UnixTime,
    proof::Dpop,
    test_util::{AuthorizationServer, Client, Endpoint, Fault, Prover, TestClock},
};

use crate::support::{
    AUDIENCE, FixedClock, ISSUER, ImmediateVerifier, ask, layer, policy, refusal, request, whoami,
    with_token,
};

struct World {
    server: AuthorizationServer,
    clock: TestClock,
}

impl World {
    fn new() -> Self {
        let clock = TestClock::new(UnixTime::from_secs(1_800_000_000));
        let server = AuthorizationServer::new(ISSUER)
            .with_clock(clock.clone())
            .with_client(Client::new("api", "s3cret"));
        Self { server, clock }
    }

    fn api(&self, issuer: Issuer) -> ResourceServer {
        let builder = ResourceServer::builder(AUDIENCE).issuer(issuer);
        builder.transport(self.server.transport()).clock(self.clock.clone()).build().unwrap()
    }

    /// Returns a client with a key, and a resource server that accepts its proofs.
    fn with_dpop(&self) -> (Prover, ResourceServer) {
        let api = ResourceServer::builder(AUDIENCE)
            .issuer(Issuer::jwt(ISSUER))
            .transport(self.server.transport())
            .clock(self.clock.clone())
            .dpop(Dpop::new("https://api.example.com").unwrap())
            .build();
        (Prover::new("client").with_clock(self.clock.clone()), api.unwrap())
    }

    fn local(&self) -> ResourceServer {
        self.api(Issuer::jwt(ISSUER))
    }

    fn remote(&self) -> ResourceServer {
        self.api(Issuer::introspect(ISSUER, ClientAuth::basic("api", "s3cret")))
    }
}

async fn present(api: &ResourceServer, token: &str) -> Response<Bytes> {
    ask(&api.layer(), request(&[("authorization", &format!("Bearer {token}"))])).await
}

// ===== A: decisions shared between policies =====

/// CVE-2021-32701 (Oathkeeper), heimdall #3452: a decision cached under one policy was used under
/// another.
#[tokio::test]
async fn policies_share_verified_facts_but_no_decisions() {
    let fact = ImmediateVerifier::alice();
    let own = IntrospectLayer::new(fact.clone(), policy());
    let foreign = Policy::new("https://other.example.com").clock(FixedClock);
    let foreign = IntrospectLayer::new(fact, foreign);
    for _ in 0..2 {
        assert_eq!(ask(&own, with_token()).await.status(), StatusCode::OK);
        let response = ask(&foreign, with_token()).await;
        assert_eq!(refusal(&response), Some(ErrorKind::WrongAudience));
    }
}

/// liboauth2 (CWE-613): a cached token was accepted after its `exp`.
#[tokio::test(start_paused = true)]
async fn expiry_is_checked_on_every_request() {
    let world = World::new();
    let fact = ImmediateVerifier::claims(r#"{"aud":"https://api.example.com","exp":1800000060}"#);
    let policy = Policy::new(AUDIENCE).clock(world.clock.clone()).leeway(Duration::ZERO);
    let layer = IntrospectLayer::new(fact, policy);
    assert_eq!(ask(&layer, with_token()).await.status(), StatusCode::OK);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(refusal(&ask(&layer, with_token()).await), Some(ErrorKind::Expired));
}

// ===== B: fail open =====

/// CVE-2026-31837 (Istio): keys that could not be fetched were replaced by publicly known keys.
#[tokio::test(start_paused = true)]
async fn no_token_is_accepted_without_keys() {
    let world = World::new();
    world.server.inject(Endpoint::Jwks, Fault::status(StatusCode::INTERNAL_SERVER_ERROR));
    let token = world.server.jwt().audience(AUDIENCE).mint();
    let response = present(&world.local(), &token).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// APISIX #13829: the issuer was not checked after discovery had failed.
#[tokio::test(start_paused = true)]
async fn issuer_is_checked_after_failed_discovery() {
    let world = World::new();
    world.server.inject(Endpoint::Discovery, Fault::status(StatusCode::NOT_FOUND));
    let foreign =
        world.server.jwt().claim("iss", "https://evil.example.com").audience(AUDIENCE).mint();
    assert!(!present(&world.local(), &foreign).await.status().is_success());
}

/// Spring: an empty introspection response counted as an empty set of claims.
#[tokio::test(start_paused = true)]
async fn introspection_response_without_active_is_a_bad_response() {
    let world = World::new();
    for answer in [
        serde_json::json!({}),
        serde_json::json!({"aud": AUDIENCE}),
        serde_json::json!({"active": "true"}),
    ] {
        let token = world.server.opaque().introspected_as(answer).mint();
        assert_eq!(present(&world.remote(), &token).await.status(), StatusCode::BAD_GATEWAY);
    }
}

/// auth0, heimdall, Spring: a bound token was accepted as a bearer token unless proof of possession
/// was configured.
#[tokio::test(start_paused = true)]
async fn bound_token_is_refused_as_bearer_token_by_default() {
    let world = World::new();
    for cnf in [
        serde_json::json!({"jkt": "x"}),
        serde_json::json!({"x5t#S256": "x"}),
        serde_json::json!({"x5t": "x"}),
        serde_json::json!({}),
    ] {
        let jwt = world.server.jwt().audience(AUDIENCE).claim("cnf", cnf.clone()).mint();
        let refused = refusal(&present(&world.local(), &jwt).await);
        assert_eq!(refused, Some(ErrorKind::UnprovenPossession), "{cnf}");
        let opaque = world.server.opaque().audience(AUDIENCE).claim("cnf", cnf.clone()).mint();
        let refused = refusal(&present(&world.remote(), &opaque).await);
        assert_eq!(refused, Some(ErrorKind::UnprovenPossession), "{cnf}");
    }
}

/// The proof was marked as used before it was checked against the request. Whoever captured one
/// could use it up, and the client's own request was refused.
#[tokio::test(start_paused = true)]
async fn captured_proof_sent_to_another_url_is_not_marked_as_used() {
    let world = World::new();
    let (prover, api) = world.with_dpop();
    let token = world.server.jwt().subject("alice").audience(AUDIENCE).bound_to(&prover).mint();
    let proof = prover.proof("GET", "https://api.example.com/").for_token(&token).mint();
    let fields = [("authorization", &*format!("DPoP {token}")), ("dpop", &*proof)];
    let mut elsewhere = request(&fields);
    *elsewhere.uri_mut() = "/elsewhere".parse().unwrap();
    let refused = refusal(&ask(&api.layer(), elsewhere).await);
    assert_eq!(refused, Some(ErrorKind::InvalidProof));
    assert_eq!(ask(&api.layer(), request(&fields)).await.body(), "alice");
}

/// liboauth2 (CWE-345): a proof with a private key was accepted.
#[tokio::test(start_paused = true)]
async fn proof_with_a_private_key_is_refused() {
    let world = World::new();
    let (prover, api) = world.with_dpop();
    let token = world.server.jwt().audience(AUDIENCE).bound_to(&prover).mint();
    let mut jwk = prover.jwk().clone();
    jwk["d"] = "AAAA".into();
    let proof =
        prover.proof("GET", "https://api.example.com/").for_token(&token).header("jwk", jwk);
    let fields = [("authorization", &*format!("DPoP {token}")), ("dpop", &*proof.mint())];
    let refused = refusal(&ask(&api.layer(), request(&fields)).await);
    assert_eq!(refused, Some(ErrorKind::InvalidProof));
}

/// CVE-2024-49755 (Duende): the binding was not checked for every source of the token.
#[tokio::test(start_paused = true)]
async fn binding_is_checked_for_every_source_of_the_token() {
    use tower_introspect::credentials::Extractor;
    let world = World::new();
    let (prover, api) = world.with_dpop();
    let token = world.server.jwt().audience(AUDIENCE).bound_to(&prover).mint();
    let bearer = || request(&[("authorization", &format!("Bearer {token}"))]);
    let fresh = api.fresh_layer(Duration::from_secs(1));
    let by_cookie = api.layer().extractor(Extractor::new().danger_cookie("at"));
    let cookie = request(&[("cookie", &format!("at={token}"))]);
    for (layer, request) in [
        (api.layer(), bearer()),
        (api.layer().optional(), bearer()),
        (fresh, bearer()),
        (by_cookie, cookie),
    ] {
        let refused = refusal(&ask(&layer, request).await);
        assert_eq!(refused, Some(ErrorKind::UnprovenPossession));
    }
}

/// tower-sessions: a layer responded 200 when the layer outside was missing.
#[tokio::test]
async fn missing_outer_layer_is_500() {
    let bare = RequireScope::all(["read"]).layer(service_fn(whoami));
    let response = bare.oneshot(with_token()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

// ===== C: unchecked claims =====

/// CVE-2026-22748 (Spring), hono CVE-2025-62610, liboauth2 CWE-287, APISIX #11987, and
/// `jsonwebtoken`, which checks `iss` and `aud` only if they are present.
#[tokio::test(start_paused = true)]
async fn missing_and_malformed_claims_are_refused() {
    let world = World::new();
    let jwt = || world.server.jwt().audience(AUDIENCE);
    for token in [
        jwt().without("iss").mint(),
        jwt().without("aud").mint(),
        jwt().without("exp").mint(),
        jwt().claim("iss", serde_json::json!([ISSUER])).mint(),
        jwt().claim("iss", serde_json::json!(["https://evil.example.com", ISSUER])).mint(),
        jwt().claim("iss", 5).mint(),
        jwt().claim("aud", serde_json::json!([AUDIENCE, 7])).mint(),
        jwt().claim("aud", serde_json::json!({"aud": AUDIENCE})).mint(),
    ] {
        assert_eq!(present(&world.local(), &token).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(present(&world.local(), &jwt().mint()).await.status(), StatusCode::OK);
}

/// Keycloak CVE-2026-37979: the server introspects tokens for any client, so this service has to
/// check the audience.
#[tokio::test(start_paused = true)]
async fn active_token_for_another_audience_is_refused() {
    let world = World::new();
    let opaque = || world.server.opaque();
    for (token, kind) in [
        (opaque().audience("https://other.example.com").mint(), ErrorKind::WrongAudience),
        (opaque().without("aud").mint(), ErrorKind::MissingClaim("aud")),
    ] {
        assert_eq!(refusal(&present(&world.remote(), &token).await), Some(kind));
    }
}

/// Some servers report refresh tokens as active, with the type "Bearer" or without a type.
#[tokio::test(start_paused = true)]
async fn refresh_tokens_are_refused() {
    let world = World::new();
    let marked =
        serde_json::json!({"active": true, "aud": AUDIENCE, "token_type": "refresh_token"});
    let unmarked = serde_json::json!({"active": true, "scope": "read"});
    let foreign = serde_json::json!({"active": true, "aud": ["client"], "token_type": "Bearer"});
    for answer in [marked, unmarked, foreign] {
        let token = world.server.opaque().introspected_as(answer).mint();
        assert_eq!(present(&world.remote(), &token).await.status(), StatusCode::UNAUTHORIZED);
    }
}

// ===== E, F: cost, and the targets of requests =====

/// CVE-2026-32301 (Centrifugo): the URL of the keys was built from claims of the token.
#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_from_urls_in_a_token() {
    let world = World::new();
    for claim in ["iss", "jku", "x5u", "aud"] {
        let evil = "https://evil.example.com/";
        let token = world
            .server
            .jwt()
            .audience(AUDIENCE)
            .claim(claim, evil)
            .header("jku", evil)
            .header("x5u", evil);
        let _ = present(&world.local(), &token.mint()).await;
    }
    assert!(world.server.unmatched_requests().is_empty());
}

/// Four crates fetched the keys once for each invented key identifier.
#[tokio::test(start_paused = true)]
async fn unknown_kids_cause_a_bounded_number_of_fetches() {
    let world = World::new();
    let api = world.local();
    api.warm().await.unwrap();
    world.server.reset_calls();
    for n in 0..1_000 {
        let token = world.server.jwt().audience(AUDIENCE).kid(&format!("invented-{n}")).mint();
        let expected = if n == 0 { ErrorKind::UnknownKey } else { ErrorKind::KeyPending };
        assert_eq!(refusal(&present(&api, &token).await), Some(expected));
    }
    assert!(world.server.calls(Endpoint::Jwks) <= 1);
    let good = world.server.jwt().subject("alice").audience(AUDIENCE).mint();
    assert_eq!(present(&api, &good).await.body(), "alice");
}

/// CVE-2025-30204, CVE-2025-27144: a token was split at each of a million dots.
#[tokio::test(start_paused = true)]
async fn token_of_a_million_dots_is_refused_before_parsing() {
    let world = World::new();
    let token = ".".repeat(1 << 20);
    assert_eq!(refusal(&present(&world.local(), &token).await), Some(ErrorKind::TokenTooLong));
    let short = ".".repeat(8 * 1024);
    assert_eq!(refusal(&present(&world.local(), &short).await), Some(ErrorKind::MalformedToken));
}

// ===== G: spoofed identity =====

/// CVE-2026-44087 (APISIX): the identity was taken from headers that any client can send.
#[tokio::test]
async fn identity_headers_of_the_client_are_ignored() {
    let layer = layer(ImmediateVerifier::refusing(ErrorKind::Inactive)).optional();
    let spoofed = request(&[
        ("x-auth-subject", "alice"),
        ("x-user", "alice"),
        ("client-cert", ":AAAA:"),
        ("x-forwarded-user", "alice"),
    ]);
    assert_eq!(ask(&layer, spoofed).await.body(), "nobody");
}

// ===== Responses =====

/// The service responded 401 while its provider restarted, and a client deleted its account data.
#[tokio::test(start_paused = true)]
async fn outage_is_503_without_a_challenge() {
    let world = World::new();
    let token = world.server.opaque().subject("alice").audience(AUDIENCE).mint();
    let api = world.remote();
    api.warm().await.unwrap();
    world.server.inject(Endpoint::Introspection, Fault::unreachable());
    for _ in 0..3 {
        let response = present(&api, &token).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!response.headers().contains_key("www-authenticate"));
    }
    world.server.clear(Endpoint::Introspection);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(present(&api, &token).await.body(), "alice");
}

/// Scopes were required of opaque tokens only, and not of JWTs.
#[tokio::test(start_paused = true)]
async fn scope_is_required_of_jwts_and_opaque_tokens() {
    let world = World::new();
    let jwt = world.server.jwt().audience(AUDIENCE).scope("read").mint();
    let opaque = world.server.opaque().audience(AUDIENCE).scope("read").mint();
    for (api, token) in [(world.local(), jwt), (world.remote(), opaque)] {
        for (scope, status) in [("read", StatusCode::OK), ("write", StatusCode::FORBIDDEN)] {
            let handler = RequireScope::all([scope]).layer(service_fn(whoami));
            let request = request(&[("authorization", &format!("Bearer {token}"))]);
            let response = api.layer().layer(handler).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
        }
    }
}
