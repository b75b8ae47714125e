//! Challenges (RFC 9449 §7.1, §7.2).

use tower::Layer as _;
use tower_introspect::{
    ErrorKind, RequireScope, VerifyError,
    credentials::RequestHead,
    policy::Requirement,
    respond::{Auto, Challenge, Refusal, Respond},
};

use super::*;

const REALM: &str = "realm=\"https://api.example.com\"";
const ALGS: &str = "algs=\"ES256 EdDSA PS256 ES384 RS256\"";

fn bearer(error: &str) -> String {
    if error.is_empty() { format!("Bearer {REALM}") } else { format!("Bearer {REALM}, {error}") }
}

fn dpop_(error: &str) -> String {
    if error.is_empty() {
        format!("DPoP {REALM}, {ALGS}")
    } else {
        format!("DPoP {REALM}, {error}, {ALGS}")
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_7_2_missing_credentials_get_both_challenges_without_an_error() {
    let world = World::new();
    for fields in [
        &[][..],
        &[("authorization", "Basic dTpw")],
        &[("dpop", "x")],
        &[("proxy-authorization", "DPoP x")],
    ] {
        let response = world.send(get("/r", fields)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(challenges(&response), [bearer(""), dpop_("")]);
        assert_eq!(nonce_of(&response), None);
        assert!(!response.headers().contains_key("proxy-authenticate"));
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_7_2_error_is_in_the_challenge_of_the_used_scheme() {
    let world = World::new();
    let invalid = "error=\"invalid_token\"";
    let response = world.send(get("/r", &[("authorization", "Bearer abc")])).await;
    assert_eq!(challenges(&response), [bearer(invalid), dpop_("")]);
    let response = world.send(get("/r", &[("authorization", "dpop abc")])).await;
    assert_eq!(challenges(&response), [dpop_(invalid), bearer("")]);
    let malformed = "error=\"invalid_request\"";
    let response = world.send(get("/r", &[("authorization", "DPoP a b")])).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(challenges(&response), [dpop_(malformed), bearer("")]);
}

#[tokio::test(start_paused = true)]
async fn token_from_a_cookie_is_a_bearer_token() {
    let world = World::new();
    let by_cookie = tower_introspect::credentials::Extractor::new().danger_cookie("at");
    let layer = world.api.layer().extractor(by_cookie);
    for token in ["abc", &world.token] {
        let response = ask(&layer, get("/r", &[("cookie", &format!("at={token}"))])).await;
        assert_eq!(challenges(&response), [bearer("error=\"invalid_token\""), dpop_("")]);
    }
}

/// RFC 9449 Figure 19.
#[tokio::test(start_paused = true)]
async fn rfc9449_7_2_both_schemes_in_one_request_are_an_error_in_both_challenges() {
    let world = World::new();
    let bearer_and_dpop = [("authorization", "Bearer abc"), ("authorization", "DPoP abc")];
    let response = world.send(get("/r", &bearer_and_dpop)).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let malformed = "error=\"invalid_request\"";
    assert_eq!(challenges(&response), [bearer(malformed), dpop_(malformed)]);
}

#[tokio::test(start_paused = true)]
async fn rfc9449_7_1_error_of_a_proof_is_in_the_dpop_challenge_only() {
    let world = World::new();
    let response = world.with_proof(&world.proof().claim("htm", "POST").mint()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(challenges(&response), [dpop_("error=\"invalid_dpop_proof\"")]);
}

#[tokio::test(start_paused = true)]
async fn rfc9449_7_1_required_scope_is_in_the_challenge_of_the_used_scheme_only() {
    let world =
        World::under(|policy| policy.dpop(dpop()).require(Requirement::all_scopes(["write"])));
    let insufficient = "error=\"insufficient_scope\", scope=\"write\"";
    let response = world.with_proof(&world.proof().mint()).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(challenges(&response), [dpop_(insufficient)]);
    let token = world.server.jwt().audience(AUDIENCE).scope("read").mint();
    let response = world.send(get("/r", &[("authorization", &format!("Bearer {token}"))])).await;
    assert_eq!(challenges(&response), [bearer(insufficient)]);
}

/// Inner layers know the scheme even if the credentials were removed.
#[tokio::test(start_paused = true)]
async fn inner_layers_challenge_with_the_used_scheme() {
    let world = World::new();
    let handler = RequireScope::all(["write"]).layer(crate::support::whoami_service());
    let service = world.api.layer().remove_credentials().layer(handler);
    let response =
        tower::ServiceExt::oneshot(service, world.request(&world.proof().mint())).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(challenges(&response), [dpop_("error=\"insufficient_scope\", scope=\"write\"")]);
}

#[tokio::test(start_paused = true)]
async fn invalid_proof_is_never_403() {
    let world =
        World::under(|policy| policy.dpop(dpop()).require(Requirement::all_scopes(["write"])));
    let good = world.proof().mint();
    for (proof, kind) in [
        (world.proof().claim("htm", "POST").mint(), ErrorKind::InvalidProof),
        (world.proof().with_corrupt_signature().mint(), ErrorKind::InvalidProof),
        (world.proof().claim("ath", "x").mint(), ErrorKind::InvalidProof),
        (
            Prover::new("thief")
                .with_clock(world.clock.clone())
                .proof("GET", URL)
                .for_token(&world.token)
                .mint(),
            ErrorKind::UnprovenPossession,
        ),
        (good.clone(), ErrorKind::InsufficientScope),
        // The reuse of the proof is reported before the missing scope.
        (good, ErrorKind::InvalidProof),
    ] {
        let response = world.with_proof(&proof).await;
        assert_eq!(refusal(&response), Some(kind));
        assert_eq!(
            response.status() == StatusCode::FORBIDDEN,
            kind == ErrorKind::InsufficientScope
        );
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_token_is_reported_before_an_invalid_proof() {
    let world = World::new();
    let expired = world
        .server
        .jwt()
        .audience(AUDIENCE)
        .bound_to(&world.prover)
        .expires_at(UnixTime::from_secs(1))
        .mint();
    let elsewhere =
        world.server.jwt().audience("https://other.example.com").bound_to(&world.prover).mint();
    for (token, kind) in [(expired, ErrorKind::Expired), (elsewhere, ErrorKind::WrongAudience)] {
        let request =
            get("/r", &[("authorization", &format!("DPoP {token}")), ("dpop", "garbage")]);
        assert_eq!(refusal(&world.send(request).await), Some(kind));
    }
}

#[test]
fn proofs_and_nonces_are_in_no_challenge_or_debug_output() {
    let nonce = HeaderValue::from_static("s3cret-nonce");
    let error = VerifyError::use_nonce(nonce).with_context("there is no nonce");
    assert!(!format!("{error:?} {error}").contains("s3cret"));
    let (method, uri, headers) = (Method::GET, "/".parse().unwrap(), http::HeaderMap::new());
    let challenge = Challenge::new("api").dpop(["ES256"]);
    let refusal = Refusal::new(&error, RequestHead::new(&method, &uri, &headers), &challenge);
    assert!(!format!("{refusal:?}").contains("s3cret"));
    let response: Response<Bytes> = Auto::new().respond(&refusal);
    assert_eq!(nonce_of(&response).as_deref(), Some("s3cret-nonce"));
}

#[test]
fn challenge_for_a_proof_without_algorithms_has_the_scheme_dpop() {
    let challenge = Challenge::new("api");
    for (kind, code) in [
        (ErrorKind::InvalidProof, "invalid_dpop_proof"),
        (ErrorKind::NonceRequired, "use_dpop_nonce"),
    ] {
        let header = challenge.header(&kind.into()).unwrap();
        assert_eq!(header, format!("DPoP realm=\"api\", error=\"{code}\""));
    }
    let missing = VerifyError::new(ErrorKind::MissingCredentials);
    let only = Challenge::new("api").dpop(["ES256"]).without_bearer();
    assert_eq!(
        only.headers(&missing, None).collect::<Vec<_>>(),
        ["DPoP realm=\"api\", algs=\"ES256\""]
    );
    // A challenge without schemes falls back to `Bearer`, so that each 401 has one.
    let neither = Challenge::new("api").without_bearer();
    assert_eq!(neither.header(&missing).unwrap(), "Bearer realm=\"api\"");
}
