//! The key of a proof, and its algorithm.

use serde_json::{Value, json};
use tower_introspect::{
    ErrorKind,
    jose::{Algorithm, SigningKey},
    test_util::Prover,
};

use super::*;

const BAD: Result<(), ErrorKind> = Err(ErrorKind::InvalidProof);

const RSA: &[u8] = include_bytes!("../keys/rsa.pem");
const P256: &[u8] = include_bytes!("../keys/p256.pem");
const P384: &[u8] = include_bytes!("../keys/p384.pem");
const ED25519: &[u8] = include_bytes!("../keys/ed25519.pem");

fn prover(world: &World, algorithm: Algorithm, pem: &[u8]) -> Prover {
    let key = SigningKey::from_pem(algorithm, pem).unwrap();
    Prover::with_key(key).with_clock(world.clock.clone())
}

/// Returns the outcome of a request with a proof of this key and a token bound to it.
async fn outcome_with(world: &World, prover: &Prover) -> Result<(), ErrorKind> {
    let token = world.server.jwt().audience(AUDIENCE).bound_to(prover).mint();
    let proof = prover.proof("GET", URL).for_token(&token).mint();
    outcome_of(world, &token, &proof).await
}

#[tokio::test(start_paused = true)]
async fn rfc9449_11_6_only_configured_algorithms_are_accepted() {
    let keys: [(Algorithm, &[u8]); 9] = [
        (Algorithm::ES256, P256),
        (Algorithm::ES384, P384),
        (Algorithm::EdDSA, ED25519),
        (Algorithm::PS256, RSA),
        (Algorithm::RS256, RSA),
        (Algorithm::PS384, RSA),
        (Algorithm::PS512, RSA),
        (Algorithm::RS384, RSA),
        (Algorithm::RS512, RSA),
    ];
    let world = World::new();
    for (at, (algorithm, pem)) in keys.into_iter().enumerate() {
        let by_default = if at < 5 { Ok(()) } else { BAD };
        assert_eq!(
            outcome_with(&world, &prover(&world, algorithm, pem)).await,
            by_default,
            "{algorithm}"
        );
    }
    for (only, _) in keys {
        let world = World::with(dpop().algorithms([only, Algorithm::HS256]));
        for (algorithm, pem) in keys {
            let expected = if algorithm == only { Ok(()) } else { BAD };
            let outcome = outcome_with(&world, &prover(&world, algorithm, pem)).await;
            assert_eq!(outcome, expected, "{only} {algorithm}");
        }
    }
    let nothing = World::with(dpop().algorithms([Algorithm::HS256]));
    assert_eq!(nothing.outcome(nothing.proof()).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn rfc8725_3_1_algorithm_must_fit_the_key() {
    let world = World::with(dpop().algorithms([
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
        Algorithm::RS256,
        Algorithm::PS256,
    ]));
    for (pem, algorithm) in [
        (P256, Algorithm::ES256),
        (P384, Algorithm::ES384),
        (ED25519, Algorithm::EdDSA),
        (RSA, Algorithm::RS256),
    ] {
        let prover = prover(&world, algorithm, pem);
        let token = world.server.jwt().audience(AUDIENCE).bound_to(&prover).mint();
        for alg in ["ES256", "ES384", "EdDSA", "RS256", "PS256"] {
            let proof = prover.proof("GET", URL).for_token(&token).header("alg", alg).mint();
            let expected = if alg == algorithm.as_str() { Ok(()) } else { BAD };
            assert_eq!(outcome_of(&world, &token, &proof).await, expected, "{algorithm} {alg}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_a_private_key_in_the_proof_is_refused() {
    let world = World::new();
    for (name, value) in [
        ("d", json!("AAAA")),
        ("p", json!("AQ")),
        ("q", json!("AQ")),
        ("dp", json!("AQ")),
        ("dq", json!("AQ")),
        ("qi", json!("AQ")),
        ("oth", json!([])),
        ("k", json!("AQ")),
        ("d", Value::Null),
    ] {
        let mut jwk = world.prover.jwk().clone();
        jwk[name] = value;
        assert_eq!(world.outcome(world.proof().header("jwk", jwk)).await, BAD, "{name}");
    }
    let secret = json!({"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
    for alg in ["HS256", "ES256"] {
        assert_eq!(
            world.outcome(world.proof().header("jwk", secret.clone()).header("alg", alg)).await,
            BAD
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rfc7638_3_2_other_members_of_the_key_are_ignored() {
    let world = World::new();
    let mut jwk = world.prover.jwk().clone();
    for (name, value) in [
        ("kid", json!("a")),
        ("alg", json!("ES256")),
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("ext", json!(true)),
        ("x5c", json!(["AAAA"])),
    ] {
        jwk[name] = value;
        assert_eq!(world.outcome(world.proof().header("jwk", jwk.clone())).await, Ok(()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_key_is_refused() {
    let world = World::new();
    let jwk = world.prover.jwk();
    let without = |name: &str| {
        let mut jwk = jwk.clone();
        jwk.as_object_mut().unwrap().remove(name);
        jwk
    };
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let x = jwk["x"].as_str().unwrap();
    for key in [
        json!(null),
        json!("x"),
        json!([jwk]),
        json!({}),
        json!({"keys": [jwk]}),
        without("kty"),
        without("crv"),
        without("x"),
        without("y"),
        with("kty", json!("ec")),
        with("kty", json!("RSA")),
        with("kty", json!(7)),
        with("crv", json!("P-384")),
        with("crv", json!("secp256k1")),
        with("x", json!(format!("{x}="))),
        with("x", json!(&x[1..])),
        with("x", json!(format!("AA{x}"))),
        with("x", json!(7)),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": x}),
        json!({"kty": "OKP", "crv": "Ed448", "x": x}),
    ] {
        assert_eq!(world.outcome(world.proof().header("jwk", key.clone())).await, BAD, "{key}");
    }
    assert_eq!(world.outcome(world.proof().without_header("jwk")).await, BAD);
}

/// Refused even if an authorization server has bound a token to it.
#[tokio::test(start_paused = true)]
async fn invalid_key_is_refused_even_if_a_token_is_bound_to_it() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let bytes = |byte: u8, length| URL_SAFE_NO_PAD.encode(vec![byte; length]);
    let rsa = prover(&World::new(), Algorithm::RS256, RSA).jwk()["n"].clone();
    let world = World::new();
    for (what, alg, jwk) in [
        (
            "off the curve",
            "ES256",
            json!({"kty": "EC", "crv": "P-256", "x": bytes(1, 32), "y": bytes(1, 32)}),
        ),
        (
            "infinity",
            "ES256",
            json!({"kty": "EC", "crv": "P-256", "x": bytes(0, 32), "y": bytes(0, 32)}),
        ),
        (
            "beyond the field",
            "ES256",
            json!({"kty": "EC", "crv": "P-256", "x": bytes(255, 32), "y": bytes(255, 32)}),
        ),
        (
            "off the other curve",
            "ES384",
            json!({"kty": "EC", "crv": "P-384", "x": bytes(1, 48), "y": bytes(1, 48)}),
        ),
        ("exponent of one", "RS256", json!({"kty": "RSA", "n": rsa, "e": "AQ"})),
        ("even exponent", "RS256", json!({"kty": "RSA", "n": rsa, "e": "Ag"})),
        ("exponent of zero", "RS256", json!({"kty": "RSA", "n": rsa, "e": "AA"})),
        ("huge exponent", "RS256", json!({"kty": "RSA", "n": rsa, "e": bytes(255, 256)})),
        ("1024 bits", "RS256", json!({"kty": "RSA", "n": bytes(255, 128), "e": "AQAB"})),
        ("16384 bits", "RS256", json!({"kty": "RSA", "n": bytes(255, 2048), "e": "AQAB"})),
        ("even modulus", "PS256", json!({"kty": "RSA", "n": bytes(254, 256), "e": "AQAB"})),
    ] {
        let token = {
            let jkt = thumbprint(&jwk);
            world.server.jwt().audience(AUDIENCE).claim("cnf", json!({"jkt": jkt})).mint()
        };
        let proof = world.prover.proof("GET", URL).for_token(&token);
        let proof = proof.header("jwk", jwk.clone()).header("alg", alg).mint();
        assert_eq!(outcome_of(&world, &token, &proof).await, BAD, "{what}");
    }
}

/// Computes a thumbprint here, as the library refuses these keys.
fn thumbprint(jwk: &Value) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let members: Vec<_> = ["crv", "e", "kty", "n", "x", "y"]
        .into_iter()
        .filter_map(|name| Some(format!("\"{name}\":{}", jwk.get(name)?)))
        .collect();
    let text = format!("{{{}}}", members.join(","));
    // The owner of a mark is the digest of the value passed as its key.
    let now = tower_introspect::clock::Moment::now(&FixedClock);
    URL_SAFE_NO_PAD.encode(tower_introspect::proof::Mark::new(&text, "", now, now.wall()).owner())
}

/// With a point of small order, signatures that fit many messages can be made without a private
/// key.
#[tokio::test(start_paused = true)]
async fn point_of_small_order_is_refused_even_if_a_token_is_bound_to_it() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let world = World::new();
    let point = |first, middle, last| {
        let mut x = [middle; 32];
        (x[0], x[31]) = (first, last);
        x
    };
    let eighth = URL_SAFE_NO_PAD.decode("JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU").unwrap();
    let mut points = vec![
        point(0, 0, 0),
        point(1, 0, 0),
        point(0xec, 0xff, 0x7f),
        point(0xed, 0xff, 0x7f),
        point(0xee, 0xff, 0x7f),
        eighth.clone().try_into().unwrap(),
        // The other point of order eight is the prime minus this one.
        std::array::from_fn(|at| point(0xed, 0xff, 0x7f)[at] - eighth[at]),
    ];
    points.extend(points.clone().into_iter().map(|mut x| {
        x[31] |= 0x80;
        x
    }));
    let mut signature = [0; 64];
    signature[0] = 1;
    for x in points {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(x)});
        let cnf = json!({"jkt": thumbprint(&jwk)});
        let token = world.server.jwt().audience(AUDIENCE).claim("cnf", cnf).mint();
        // With a point of order eight, the signature fits one of eight messages.
        for attempt in 0..64 {
            let proof = world.prover.proof("GET", URL).for_token(&token).claim("x", attempt);
            let proof = proof.header("jwk", jwk.clone()).header("alg", "EdDSA").mint();
            let (signed, _) = proof.rsplit_once('.').unwrap();
            let proof = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
            assert_eq!(outcome_of(&world, &token, &proof).await, BAD, "{x:?}");
        }
    }
}
