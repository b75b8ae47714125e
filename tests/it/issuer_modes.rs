//! The modes of an issuer: local verification, introspection, and both.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{
    ClientAuth, ErrorKind, Issuer, ResourceServer, VerifiedToken,
    clock::UnixTime,
    credentials::Token,
    proof::Dpop,
    resource_server::ResourceServerBuilder,
    test_util::{AuthorizationServer, Client, Endpoint, Fault, Prover, TestClock},
    verify::{Freshness, Method, Verifier, VerifyRequest},
};

use crate::support::{AUDIENCE, ISSUER, ask, challenge, refusal, request};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const MAX_AGE: Duration = Duration::from_secs(10);

struct World {
    server: AuthorizationServer,
    api: ResourceServer,
}

fn auth() -> ClientAuth {
    ClientAuth::basic("api", "s3cret")
}

fn confirmed() -> Issuer {
    Issuer::jwt_and_introspect(ISSUER, auth(), MAX_AGE)
}

fn falling_back() -> Issuer {
    Issuer::hybrid(ISSUER, auth()).fall_back_to_introspection()
}

impl World {
    fn new(issuer: Issuer) -> Self {
        Self::with(issuer, |api| api)
    }

    fn with(
        issuer: Issuer,
        change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder,
    ) -> Self {
        let clock = TestClock::new(NOW);
        let server = AuthorizationServer::new(ISSUER)
            .with_clock(clock.clone())
            .with_client(Client::new("api", "s3cret"));
        // Without a cache, every request reaches the server.
        let api = ResourceServer::builder(AUDIENCE)
            .issuer(issuer)
            .transport(server.transport())
            .clock(clock)
            .max_age(Duration::ZERO);
        Self { server, api: change(api).build().unwrap() }
    }

    fn jwt(&self) -> String {
        self.server.jwt().subject("alice").audience(AUDIENCE).scope("read write").mint()
    }

    fn opaque(&self) -> String {
        self.server.opaque().subject("alice").audience(AUDIENCE).mint()
    }

    /// Sets the introspection response of all tokens.
    fn set_response(&self, answer: &Value) {
        self.server.clear(Endpoint::Introspection);
        let mut response = Response::new(Bytes::from(answer.to_string()));
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
        self.server.inject(Endpoint::Introspection, Fault::respond(response));
    }

    fn asked(&self) -> usize {
        self.server.calls(Endpoint::Introspection)
    }

    async fn present(&self, token: &str) -> Response<Option<VerifiedToken>> {
        self.present_to(self.api.layer(), token).await
    }

    async fn present_live(&self, token: &str) -> Response<Option<VerifiedToken>> {
        self.present_to(self.api.layer().freshness(Freshness::Live), token).await
    }

    /// Returns the response, with the token that the handler got.
    async fn present_to(
        &self,
        layer: tower_introspect::IntrospectLayer<tower_introspect::verify::BoxVerifier>,
        token: &str,
    ) -> Response<Option<VerifiedToken>> {
        let handler = service_fn(async |request: http::Request<Bytes>| {
            let token = request.extensions().get::<VerifiedToken>().cloned();
            Ok::<_, std::convert::Infallible>(Response::new(token))
        });
        let bearer = format!("Bearer {token}");
        let Ok(response) =
            layer.layer(handler).oneshot(request(&[("authorization", &bearer)])).await;
        response
    }

    /// Returns how the token was verified, or why it was refused.
    async fn method(&self, token: &str) -> Result<Method, ErrorKind> {
        let response = self.present(token).await;
        match response.body() {
            Some(token) => Ok(token.method()),
            None => Err(refusal(&response).unwrap()),
        }
    }
}

// The method of each mode.

#[tokio::test(start_paused = true)]
async fn each_mode_uses_its_verification_methods() {
    for (issuer, jwt, opaque) in [
        (Issuer::jwt(ISSUER), Ok(Method::Jwt), Err(ErrorKind::MalformedToken)),
        (Issuer::introspect(ISSUER, auth()), Ok(Method::Introspection), Ok(Method::Introspection)),
        (Issuer::hybrid(ISSUER, auth()), Ok(Method::Jwt), Ok(Method::Introspection)),
        (confirmed(), Ok(Method::Confirmed), Ok(Method::Introspection)),
        (falling_back(), Ok(Method::Jwt), Ok(Method::Introspection)),
    ] {
        let world = World::new(issuer);
        assert_eq!(world.method(&world.jwt()).await, jwt);
        assert_eq!(world.method(&world.opaque()).await, opaque);
    }
}

// JWTs confirmed by introspection.

#[tokio::test(start_paused = true)]
async fn invalid_jwt_is_refused_without_introspection() {
    let world = World::new(confirmed());
    world.api.warm().await.unwrap();
    let jwt = || world.server.jwt().audience(AUDIENCE);
    let stranger = AuthorizationServer::new("https://other.example.com");
    let forged = stranger.jwt().claim("iss", ISSUER).audience(AUDIENCE).mint();
    for token in [
        jwt().with_corrupt_signature().mint(),
        jwt().unsigned().mint(),
        jwt().typ("JWT").without("client_id").mint(),
        jwt().without("exp").mint(),
        jwt().kid("unknown").with_corrupt_signature().mint(),
        stranger.jwt().audience(AUDIENCE).mint(),
        forged,
    ] {
        // Keys may be fetched again for each of them.
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(world.present(&token).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn revoked_jwt_is_refused_on_the_next_request() {
    let world = World::new(confirmed());
    let jwt = world.jwt();
    assert_eq!(world.method(&jwt).await, Ok(Method::Confirmed));
    world.server.revoke(&jwt);
    let response = world.present(&jwt).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refusal(&response), Some(ErrorKind::Inactive));
    assert_eq!(world.asked(), 2);
}

fn invalid_client() -> Response<Bytes> {
    let response = Response::builder().status(401).header("content-type", "application/json");
    response.body(Bytes::from_static(br#"{"error":"invalid_client"}"#)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn jwt_that_cannot_be_confirmed_is_refused_without_a_challenge() {
    let status = |code| Fault::status(StatusCode::from_u16(code).unwrap());
    for (fault, expected) in [
        (Fault::unreachable(), 503),
        (Fault::hang(), 503),
        (status(500), 503),
        (status(401), 503),
        (Fault::respond(invalid_client()), 500),
        (Fault::html(), 502),
        (Fault::garbage(), 502),
    ] {
        let world = World::new(confirmed());
        world.server.inject(Endpoint::Introspection, fault.clone());
        let response = world.present(&world.jwt()).await;
        assert_eq!(response.status().as_u16(), expected, "{fault:?}");
        assert_eq!(challenge(response.headers()), None, "a challenge blames the client");
    }
}

#[tokio::test(start_paused = true)]
async fn response_about_another_token_is_502() {
    let world = World::new(confirmed());
    let token = world
        .server
        .jwt()
        .subject("alice")
        .client_id("app")
        .claim("jti", "1")
        .audience(AUDIENCE)
        .mint();
    let agreed = json!({"active": true, "sub": "alice", "client_id": "app", "jti": "1"});
    world.set_response(&agreed);
    assert_eq!(world.method(&token).await, Ok(Method::Confirmed));
    // Members absent from the response do not contradict the token.
    world.set_response(&json!({"active": true}));
    assert_eq!(world.method(&token).await, Ok(Method::Confirmed));
    for (name, other) in [("sub", "mallory"), ("client_id", "other"), ("jti", "2")] {
        let mut answer = agreed.clone();
        answer[name] = other.into();
        world.set_response(&answer);
        let response = world.present(&token).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{name}");
        assert_eq!(refusal(&response), Some(ErrorKind::BadResponse), "{name}");
        assert_eq!(challenge(response.headers()), None, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn introspection_response_narrows_scope_and_lifetime() {
    let world = World::new(confirmed());
    let jwt = world.jwt();
    world.set_response(&json!({"active": true, "scope": "read admin"}));
    let response = world.present(&jwt).await;
    let token = response.body().as_ref().unwrap();
    assert!(token.has_scope("read"));
    assert!(!token.has_scope("write"), "absent from the response");
    assert!(!token.has_scope("admin"), "absent from the signed token");

    world.set_response(&json!({"active": true, "exp": 1_799_999_000}));
    assert_eq!(world.method(&jwt).await, Err(ErrorKind::Expired));
    world.set_response(&json!({"active": true, "exp": 1_800_000_060}));
    let response = world.present(&jwt).await;
    let token = response.body().as_ref().unwrap();
    assert_eq!(token.expires_at(), Some(UnixTime::from_secs(1_800_000_060)));
    // The response does not extend the lifetime.
    world.set_response(&json!({"active": true, "exp": 4_102_444_800_u64}));
    let response = world.present(&jwt).await;
    let token = response.body().as_ref().unwrap();
    assert_eq!(token.expires_at(), Some(UnixTime::from_secs(1_800_003_600)));

    world.set_response(&json!({"active": true, "nbf": 1_800_000_600}));
    assert_eq!(world.method(&jwt).await, Err(ErrorKind::NotYetValid));
}

#[tokio::test(start_paused = true)]
async fn rfc8705_3_2_rfc9449_6_2_binding_in_the_token_or_the_response_is_required() {
    let world = World::new(confirmed());
    let bound = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    for answer in [
        json!({"active": true, "cnf": bound}),
        json!({"active": true, "cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}),
        json!({"active": true, "token_type": "DPoP"}),
    ] {
        world.set_response(&answer);
        let outcome = world.method(&world.jwt()).await;
        assert_eq!(outcome, Err(ErrorKind::UnprovenPossession), "{answer}");
    }
    // Bound in the token only.
    let token = world.server.jwt().audience(AUDIENCE).claim("cnf", bound).mint();
    world.set_response(&json!({"active": true}));
    assert_eq!(world.method(&token).await, Err(ErrorKind::UnprovenPossession));
    // Bound to two keys.
    world.set_response(&json!({"active": true, "cnf": {"jkt": "other"}}));
    assert_eq!(world.method(&token).await, Err(ErrorKind::BadResponse));
}

#[tokio::test(start_paused = true)]
async fn rfc9449_6_2_response_that_calls_a_dpop_bound_token_a_bearer_token_confirms_nothing() {
    let prover = Prover::new("laptop").with_clock(TestClock::new(NOW));
    let world = World::with(confirmed(), |api| {
        api.policy(|policy| policy.dpop(Dpop::new("https://api.example.com").unwrap()))
    });
    let token = world.server.jwt().audience(AUDIENCE).bound_to(&prover).mint();
    let outcome = async |answer: Value| {
        world.set_response(&answer);
        let proof = prover.proof("GET", "https://api.example.com/").for_token(&token).mint();
        let scheme = format!("DPoP {token}");
        let request = request(&[("authorization", &scheme), ("dpop", &proof)]);
        refusal(&ask(&world.api.layer(), request).await)
    };
    let jkt = json!({"jkt": prover.thumbprint()});
    for good in [
        json!({"active": true}),
        json!({"active": true, "token_type": "DPoP", "cnf": jkt}),
        json!({"active": true, "cnf": jkt}),
    ] {
        assert_eq!(outcome(good.clone()).await, None, "{good}");
    }
    for contradiction in [
        json!({"active": true, "token_type": "Bearer"}),
        json!({"active": true, "token_type": "Bearer", "cnf": jkt}),
    ] {
        let unproven = Some(ErrorKind::UnprovenPossession);
        assert_eq!(outcome(contradiction.clone()).await, unproven, "{contradiction}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9396_9_2_introspection_response_narrows_authorization_details() {
    let world = World::new(confirmed());
    let (read, pay) = (json!({"type": "account"}), json!({"type": "payment", "max": 5}));
    let token = world.server.jwt().audience(AUDIENCE);
    let token = token.claim("authorization_details", json!([read, pay])).mint();
    world
        .set_response(&json!({"active": true, "authorization_details": [read, {"type": "other"}]}));
    let response = world.present(&token).await;
    let verified = response.body().as_ref().unwrap();
    let details = verified.claims().authorization_details().unwrap();
    assert_eq!(details.iter().map(|detail| detail.kind()).collect::<Vec<_>>(), ["account"]);
}

#[tokio::test(start_paused = true)]
async fn confirmed_jwt_is_retired_with_its_key() {
    let world = World::new(confirmed());
    let request = VerifyRequest::new(Token::bearer(&world.jwt()).unwrap());
    let fact = world.api.verifier().verify(request).await.unwrap();
    assert!(!fact.is_retired());
    world.server.rotate_keys();
    world.server.remove_old_keys();
    tokio::time::sleep(Duration::from_secs(9 * 60)).await;
    assert!(fact.is_retired());
}

// JWTs introspected because the keys are unavailable.

#[tokio::test(start_paused = true)]
async fn without_keys_jwts_are_introspected_as_fallback() {
    for endpoint in [Endpoint::Jwks, Endpoint::Discovery] {
        // Introspection needs no discovery if its endpoint is configured.
        let url = format!("{ISSUER}/introspect");
        let world =
            World::new(falling_back().configure_introspection(|remote| remote.endpoint(url)));
        world.server.inject(endpoint, Fault::unreachable());
        let jwt = world.jwt();
        assert_eq!(world.method(&jwt).await, Ok(Method::Fallback));
        assert_eq!(world.method(&jwt).await, Ok(Method::Fallback));
        assert_eq!(world.asked(), 2);
        world.server.revoke(&jwt);
        assert_eq!(world.method(&jwt).await, Err(ErrorKind::Inactive));
        // The keys are used as soon as they are available.
        world.server.clear(endpoint);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.method(&world.jwt()).await, Ok(Method::Jwt));
        assert_eq!(world.asked(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn refused_jwts_cause_no_introspection() {
    let world = World::new(falling_back());
    let jwt = || world.server.jwt().audience(AUDIENCE);
    let wrong = || {
        [
            jwt().with_corrupt_signature().mint(),
            jwt().unsigned().mint(),
            jwt().typ("JWT").without("client_id").mint(),
            jwt().without("exp").mint(),
            jwt().header("crit", json!(["x"])).mint(),
        ]
    };
    world.api.warm().await.unwrap();
    for token in wrong() {
        assert_eq!(world.present(&token).await.status(), StatusCode::UNAUTHORIZED);
    }
    let unknown = jwt().kid("unknown").mint();
    assert_eq!(world.method(&unknown).await, Err(ErrorKind::KeyPending));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(world.method(&unknown).await, Err(ErrorKind::UnknownKey));
    assert_eq!(world.asked(), 0);
    // Nor without keys, for tokens that no key could make valid.
    let world = World::new(falling_back());
    world.server.inject(Endpoint::Jwks, Fault::unreachable());
    for token in wrong().into_iter().skip(1) {
        assert_eq!(world.present(&token).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn malformed_key_set_causes_no_fallback() {
    let world = World::new(falling_back());
    world.server.inject(Endpoint::Jwks, Fault::html());
    assert_eq!(world.method(&world.jwt()).await, Err(ErrorKind::BadResponse));
    assert_eq!(world.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn outage_of_keys_and_introspection_is_503() {
    let world = World::new(falling_back());
    world.server.inject(Endpoint::Jwks, Fault::unreachable());
    world.server.inject(Endpoint::Introspection, Fault::unreachable());
    let response = world.present(&world.jwt()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test(start_paused = true)]
async fn fallback_must_be_configured() {
    for issuer in
        [Issuer::hybrid(ISSUER, auth()), confirmed(), confirmed().fall_back_to_introspection()]
    {
        let world = World::new(issuer);
        world.server.inject(Endpoint::Jwks, Fault::unreachable());
        assert_eq!(world.method(&world.jwt()).await, Err(ErrorKind::Unavailable));
        assert_eq!(world.asked(), 0);
    }
}

// Live freshness.

#[tokio::test(start_paused = true)]
async fn live_request_is_always_introspected() {
    for issuer in [
        Issuer::introspect(ISSUER, auth()),
        Issuer::hybrid(ISSUER, auth()),
        confirmed(),
        falling_back(),
    ] {
        let world = World::new(issuer);
        for token in [world.jwt(), world.opaque()] {
            let before = world.asked();
            let response = world.present_live(&token).await;
            let method = response.body().as_ref().unwrap().method();
            assert!(matches!(method, Method::Introspection | Method::Confirmed), "{method:?}");
            assert_eq!(world.asked(), before + 1);
            world.server.revoke(&token);
            let refused = world.present_live(&token).await;
            assert_eq!(refusal(&refused), Some(ErrorKind::Inactive));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn live_request_without_introspection_is_500() {
    let world = World::new(Issuer::jwt(ISSUER));
    let response = world.present_live(&world.jwt()).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(refusal(&response), Some(ErrorKind::Misconfigured));
    assert_eq!(challenge(response.headers()), None);
    assert!(world.server.unmatched_requests().is_empty());
}

#[test]
fn live_freshness_without_introspection_fails_to_build() {
    let world = World::new(Issuer::jwt(ISSUER));
    let build = |issuer| {
        let builder = ResourceServer::builder(AUDIENCE).issuer(issuer).freshness(Freshness::Live);
        builder.transport(world.server.transport()).build()
    };
    let problems = build(Issuer::jwt(ISSUER)).unwrap_err();
    assert_eq!(problems.problems().map(|(name, _)| name).collect::<Vec<_>>(), ["freshness"]);
    for issuer in [
        Issuer::introspect(ISSUER, auth()),
        Issuer::hybrid(ISSUER, auth()),
        confirmed(),
        falling_back(),
    ] {
        assert!(build(issuer).is_ok());
    }
}
