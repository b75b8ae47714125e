//! The `cnf` claim decides whether a token is bound.

use serde_json::json;
use tower_introspect::{ErrorKind, jose::Algorithm, policy::Requirement, test_util::TokenBuilder};

use super::*;
use crate::support::{ImmediateVerifier, layer};

/// Returns both kinds of token with this `cnf`.
fn bound(world: &World, cnf: serde_json::Value) -> [String; 2] {
    fn finish<F>(builder: TokenBuilder<F>, cnf: serde_json::Value) -> TokenBuilder<F> {
        builder.audience(AUDIENCE).claim("cnf", cnf)
    }
    let opaque = finish(world.server.opaque(), cnf.clone());
    [finish(world.server.jwt(), cnf).mint(), opaque.mint()]
}

async fn present(world: &World, scheme: &str, token: &str) -> Result<(), ErrorKind> {
    let proof = world.prover.proof("GET", URL).for_token(token).mint();
    let authorization = format!("{scheme} {token}");
    let request = get("/r", &[("authorization", &authorization), ("dpop", &proof)]);
    refusal(&world.send(request).await).map_or(Ok(()), Err)
}

const UNPROVEN: Result<(), ErrorKind> = Err(ErrorKind::UnprovenPossession);

#[tokio::test(start_paused = true)]
async fn rfc9449_6_jwts_and_introspected_tokens_are_bound_the_same_way() {
    let world = World::new();
    for token in bound(&world, json!({"jkt": world.prover.thumbprint()})) {
        assert_eq!(present(&world, "DPoP", &token).await, Ok(()));
        assert_eq!(present(&world, "Bearer", &token).await, UNPROVEN);
    }
    for token in bound(&world, json!({"jkt": prover("another").thumbprint()})) {
        assert_eq!(present(&world, "DPoP", &token).await, UNPROVEN);
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_7_2_bound_token_is_refused_as_bearer_token() {
    let world = World::new();
    assert_eq!(present(&world, "Bearer", &world.token).await, UNPROVEN);
    let bare = get("/r", &[("authorization", &format!("Bearer {}", world.token))]);
    let response = world.send(bare).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(
        challenges(&response)[0]
            .contains("Bearer realm=\"https://api.example.com\", error=\"invalid_token\"")
    );
}

#[tokio::test(start_paused = true)]
async fn rfc9449_7_1_unbound_token_is_refused_as_dpop_token() {
    let world = World::new();
    let jwt = world.server.jwt().audience(AUDIENCE).mint();
    let opaque = world.server.opaque().audience(AUDIENCE).mint();
    for token in [jwt, opaque] {
        assert_eq!(present(&world, "DPoP", &token).await, UNPROVEN);
        assert_eq!(present(&world, "Bearer", &token).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn rfc7800_3_1_token_with_only_unknown_confirmation_members_is_refused() {
    let world = World::new();
    for cnf in [
        json!({}),
        json!({"kid": "x"}),
        json!({"jwk": world.prover.jwk()}),
        json!({"x5t": "x"}),
        json!({"JKT": world.prover.thumbprint()}),
    ] {
        for token in bound(&world, cnf.clone()) {
            for scheme in ["Bearer", "DPoP"] {
                assert_eq!(present(&world, scheme, &token).await, UNPROVEN, "{cnf} {scheme}");
            }
        }
    }
}

/// auth0 1.9.2: an unknown member is ignored if a known one is satisfied.
#[tokio::test(start_paused = true)]
async fn an_unknown_member_beside_a_satisfied_one_is_ignored() {
    let world = World::new();
    for token in bound(&world, json!({"jkt": world.prover.thumbprint(), "kid": "x"})) {
        assert_eq!(present(&world, "DPoP", &token).await, Ok(()));
    }
}

/// heimdall, auth0: a token bound to a certificate was accepted without checking the certificate.
#[tokio::test(start_paused = true)]
async fn rfc8705_3_every_known_member_must_be_satisfied() {
    let world = World::new();
    let x5t = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
    for cnf in
        [json!({"x5t#S256": x5t}), json!({"jkt": world.prover.thumbprint(), "x5t#S256": x5t})]
    {
        for token in bound(&world, cnf.clone()) {
            for scheme in ["Bearer", "DPoP"] {
                assert_eq!(present(&world, scheme, &token).await, UNPROVEN, "{cnf} {scheme}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn thumbprints_are_compared_as_exact_text() {
    let world = World::new();
    let jkt = world.prover.thumbprint();
    let flipped: String = jkt
        .chars()
        .map(|char| {
            if char.is_lowercase() { char.to_ascii_uppercase() } else { char.to_ascii_lowercase() }
        })
        .collect();
    for other in
        [format!("{jkt}="), format!(" {jkt}"), flipped, jkt[..42].to_owned(), String::new()]
    {
        for token in bound(&world, json!({"jkt": other})) {
            assert_eq!(present(&world, "DPoP", &token).await, UNPROVEN, "{other}");
        }
    }
    for malformed in [json!({"jkt": 7}), json!({"jkt": null}), json!({"jkt": [jkt]}), json!("x")] {
        let jwt = world.server.jwt().audience(AUDIENCE).claim("cnf", malformed.clone()).mint();
        let refused = present(&world, "DPoP", &jwt).await;
        assert_eq!(refused, Err(ErrorKind::InvalidClaim("cnf")), "{malformed}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_6_2_a_dpop_token_without_its_key_is_refused() {
    let world = World::new();
    let token = world.server.opaque().audience(AUDIENCE).claim("token_type", "DPoP").mint();
    for scheme in ["Bearer", "DPoP"] {
        assert_eq!(present(&world, scheme, &token).await, UNPROVEN, "{scheme}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_6_2_no_proof_is_sent_to_the_authorization_server() {
    use tower_introspect::test_util::Endpoint;
    let world = World::new();
    let token = world.server.opaque().audience(AUDIENCE).bound_to(&world.prover).mint();
    assert_eq!(present(&world, "DPoP", &token).await, Ok(()));
    for asked in world.server.requests(Endpoint::Introspection) {
        assert!(!asked.headers().contains_key("dpop"));
        assert!(!String::from_utf8_lossy(asked.body()).contains("dpop"));
    }
    assert_eq!(world.server.calls(Endpoint::Introspection), 1);
}

#[tokio::test(start_paused = true)]
async fn without_dpop_configured_bound_tokens_stay_refused() {
    let world = World::under(|policy| policy);
    assert_eq!(world.outcome(world.proof()).await, UNPROVEN);
    let response = world.with_proof(&world.proof().mint()).await;
    let expected = "Bearer realm=\"https://api.example.com\", error=\"invalid_token\"";
    assert_eq!(challenges(&response), [expected]);
}

#[tokio::test(start_paused = true)]
async fn bound_token_without_a_request_is_refused() {
    let bound = ImmediateVerifier::claims(r#"{"aud":"https://api.example.com","cnf":{"jkt":"x"}}"#);
    let policy = policy().dpop(dpop());
    for scheme in
        [tower_introspect::credentials::Scheme::Bearer, tower_introspect::credentials::Scheme::Dpop]
    {
        let refused = policy.admit(bound.0.clone().unwrap(), scheme).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnprovenPossession);
    }
}

#[tokio::test(start_paused = true)]
async fn fapi2_5_3_4_bearer_tokens_are_refused_where_binding_is_required() {
    let world = World::under(|policy| policy.dpop(dpop()).require_binding());
    for token in [
        world.server.jwt().audience(AUDIENCE).mint(),
        world.server.opaque().audience(AUDIENCE).mint(),
    ] {
        assert_eq!(present(&world, "Bearer", &token).await, UNPROVEN);
    }
    assert_eq!(world.outcome(world.proof()).await, Ok(()));
    // Bearer tokens are never accepted here, so no `Bearer` challenge is sent.
    let response = world.send(get("/r", &[])).await;
    let algorithms = "algs=\"ES256 EdDSA PS256 ES384 RS256\"";
    assert_eq!(challenges(&response), [format!("DPoP realm=\"{AUDIENCE}\", {algorithms}")]);
    // Also without DPoP and mTLS.
    let unconfigured = layer(ImmediateVerifier::alice());
    assert!(ask(&unconfigured, crate::support::with_token()).await.status().is_success());
    let policy = policy().require_binding();
    let refused = policy.admit(
        ImmediateVerifier::alice().0.unwrap(),
        tower_introspect::credentials::Scheme::Bearer,
    );
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::UnprovenPossession);
}

#[tokio::test(start_paused = true)]
async fn fapi2_5_4_1_only_three_algorithms_sign_tokens_and_proofs() {
    let world = World::under(|policy| policy.dpop(dpop()).fapi2());
    let token = |algorithm| {
        let jwt = world.server.jwt().audience(AUDIENCE).bound_to(&world.prover);
        jwt.algorithm(algorithm).mint()
    };
    for algorithm in [Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA] {
        assert_eq!(present(&world, "DPoP", &token(algorithm)).await, Ok(()), "{algorithm}");
    }
    for algorithm in [Algorithm::RS256, Algorithm::ES384, Algorithm::PS384] {
        let refused = Err(ErrorKind::UnsupportedAlgorithm);
        // With a new and a cached token.
        let token = token(algorithm);
        for _ in 0..2 {
            assert_eq!(present(&world, "DPoP", &token).await, refused, "{algorithm}");
        }
    }
    let response = world.send(get("/r", &[])).await;
    assert!(challenges(&response)[0].ends_with("algs=\"ES256 EdDSA PS256\""));
    // Also in the other order, and if the algorithms of the challenge are set last.
    for policy in
        [policy().fapi2().dpop(dpop()), policy().dpop(dpop()).fapi2().advertise_scope("read")]
    {
        let layer = tower_introspect::IntrospectLayer::new(ImmediateVerifier::alice(), policy);
        let response = ask(&layer, get("/r", &[])).await;
        assert_eq!(challenges(&response).len(), 1);
        assert!(challenges(&response)[0].contains("algs=\"ES256 EdDSA PS256\""));
    }
}

#[tokio::test(start_paused = true)]
async fn routes_can_require_a_bound_token() {
    let world =
        World::under(|policy| policy.dpop(dpop()).require(Requirement::sender_constrained()));
    assert_eq!(world.outcome(world.proof()).await, Ok(()));
    let bearer = world.server.jwt().audience(AUDIENCE).mint();
    assert_eq!(present(&world, "Bearer", &bearer).await, UNPROVEN);
}
