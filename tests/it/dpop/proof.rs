//! The requirements of a proof (RFC 9449 §4.2, §4.3).

use serde_json::json;
use tower_introspect::{
    ErrorKind,
    jose::{Algorithm, SigningKey},
    proof::Dpop,
    test_util::Prover,
};

use super::*;

const BAD: Result<(), ErrorKind> = Err(ErrorKind::InvalidProof);

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_there_is_exactly_one_proof() {
    let world = World::new();
    let authorization = format!("DPoP {}", world.token);
    let (one, two) = (world.proof().mint(), world.proof().mint());
    let joined = format!("{one}, {two}");
    for fields in [
        &[("dpop", &*one), ("dpop", &*two)][..],
        &[("dpop", &*one), ("dpop", &*one)],
        &[("dpop", &*joined)],
        &[("dpop", "")],
        &[],
    ] {
        let all = [&[("authorization", &*authorization)], fields].concat();
        let response = world.send(get("/r", &all)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(refusal(&response), Some(ErrorKind::InvalidProof), "{fields:?}");
        let told = challenges(&response);
        assert!(
            told.len() == 1
                && told[0].starts_with("DPoP ")
                && told[0].contains("error=\"invalid_dpop_proof\"")
        );
    }
    // None of these requests has used up the proof.
    assert_eq!(outcome_of(&world, &world.token, &one).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_a_proof_is_a_jws_in_compact_form() {
    let world = World::new();
    let good = world.proof().mint();
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    for bad in [
        "x".to_owned(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{signature}."),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}..{signature}"),
        format!("\"{good}\""),
        good.replace('.', " ."),
        "\u{e9}".to_owned(),
        json!({"payload": payload, "signatures": []}).to_string(),
    ] {
        assert_eq!(outcome_of(&world, &world.token, &bad).await, BAD, "{bad}");
    }
    assert_eq!(outcome_of(&world, &world.token, &good).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_typ_is_dpop_jwt() {
    let world = World::new();
    for typ in ["JWT", "at+jwt", "dpop+JWT", "DPoP+jwt", "application/dpop+jwt", "dpop+jwt ", ""] {
        assert_eq!(world.outcome(world.proof().header("typ", typ)).await, BAD, "{typ}");
    }
    assert_eq!(world.outcome(world.proof().header("typ", json!(["dpop+jwt"]))).await, BAD);
    assert_eq!(world.outcome(world.proof().without_header("typ")).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_alg_is_asymmetric_and_allowed() {
    let world = World::new();
    for alg in ["none", "None", "HS256", "HS512", "ES256K", "ES512", "RSA-OAEP", "es256", "dir", ""]
    {
        assert_eq!(world.outcome(world.proof().header("alg", alg)).await, BAD, "{alg}");
    }
    assert_eq!(world.outcome(world.proof().unsigned()).await, BAD);
    assert_eq!(world.outcome(world.proof().without_header("alg")).await, BAD);
    assert_eq!(world.outcome(world.proof().header("alg", 7)).await, BAD);
    // Signed with the public key as an HMAC secret.
    let secret = world.prover.jwk().to_string();
    let hmac = SigningKey::from_secret(Algorithm::HS256, secret.as_bytes()).unwrap();
    assert_eq!(world.outcome(world.proof().header("alg", "HS256").signed_with(hmac)).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_signature_must_verify_with_the_key_in_the_proof() {
    let world = World::new();
    assert_eq!(world.outcome(world.proof().with_corrupt_signature()).await, BAD);
    let other = include_bytes!("../keys/p256.pem");
    let other = SigningKey::from_pem(Algorithm::ES256, other).unwrap();
    assert_eq!(world.outcome(world.proof().signed_with(other)).await, BAD);
    // The signature of one proof under the claims of another.
    let (one, two) = (world.proof().mint(), world.proof().mint());
    let (input, _) = one.rsplit_once('.').unwrap();
    let (_, signature) = two.rsplit_once('.').unwrap();
    assert_eq!(outcome_of(&world, &world.token, &format!("{input}.{signature}")).await, BAD);
    // CVE-2022-21449: r and s are zero. Also signatures of wrong lengths.
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    for length in [0, 1, 63, 64, 65, 72, 128] {
        let zeros = URL_SAFE_NO_PAD.encode(vec![0; length]);
        assert_eq!(
            outcome_of(&world, &world.token, &format!("{input}.{zeros}")).await,
            BAD,
            "{length}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_2_required_claims_must_be_present() {
    let world = World::new();
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        assert_eq!(world.outcome(world.proof().without(name)).await, BAD, "{name}");
        for value in [json!(null), json!({}), json!([]), json!(true), json!("")] {
            assert_eq!(
                world.outcome(world.proof().claim(name, value.clone())).await,
                BAD,
                "{name} {value}"
            );
        }
    }
    for name in ["jti", "htm", "htu", "ath"] {
        assert_eq!(world.outcome(world.proof().claim(name, 7)).await, BAD, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_2_unknown_members_are_ignored() {
    let world = World::new();
    let proof = world
        .proof()
        .header("kid", "a")
        .header("x-unknown", json!({"a": [1]}))
        .header("jku", "https://evil.example.com/")
        .claim("tx", json!({"a": 1}))
        .claim("aud", "https://other.example.com")
        .claim("nonce", "of another server");
    assert_eq!(world.outcome(proof).await, Ok(()));
    assert!(world.server.unmatched_requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rfc7515_4_1_11_critical_extension_is_refused() {
    let world = World::new();
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null)] {
        assert_eq!(world.outcome(world.proof().header("crit", crit.clone())).await, BAD, "{crit}");
    }
    assert_eq!(world.outcome(world.proof().header("b64", false)).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn rfc7515_4_repeated_member_is_refused() {
    let world = World::new();
    let jwk = world.prover.jwk();
    let header = format!("{{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":{jwk}");
    let twice = [
        format!("{header},\"alg\":\"ES256\"}}"),
        format!("{header},\"jwk\":{jwk}}}"),
        format!("{header},\"x\":1,\"x\":1}}"),
        header.replacen("\"kty\"", "\"kty\":\"EC\",\"kty\"", 1) + "}",
    ];
    assert_eq!(world.outcome(world.proof().raw_header(&format!("{header}}}"))).await, Ok(()));
    for header in twice {
        assert_eq!(world.outcome(world.proof().raw_header(&header)).await, BAD, "{header}");
    }
    let claims = |more: &str| format!("{{\"htm\":\"GET\",\"htu\":\"{URL}\"{more}}}");
    for text in [
        claims(",\"htm\":\"GET\""),
        claims(",\"a\":{\"b\":1,\"b\":1}"),
        "[]".into(),
        "null".into(),
        "{".into(),
    ] {
        assert_eq!(world.outcome(world.proof().raw_claims(&text)).await, BAD, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn nested_unknown_header_members_are_ignored() {
    let world = World::new();
    let jwk = world.prover.jwk().to_string();
    let header = |jwk: &str, more: &str| {
        format!("{{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":{jwk}{more}}}")
    };
    let deep = format!("{}{}", "[".repeat(900), "]".repeat(900));
    let with = |more: &str| jwk.replacen('{', &format!("{{{more},"), 1);
    for header in [
        header(&jwk, &format!(",\"x\":{deep}")),
        header(&jwk, ",\"x\":{\"jwk\":{\"d\":1,\"d\":1},\"jwk\":7}"),
        header(&with(&format!("\"z\":{deep}")), ""),
        header(&with("\"z\":{\"d\":1,\"d\":1}"), ""),
    ] {
        assert_eq!(world.outcome(world.proof().raw_header(&header)).await, Ok(()), "{header}");
    }
    for header in [
        header(&with("\"\\u0064\":1"), ""),
        header(&jwk, ",\"\\u0063rit\":[\"x\"]"),
        header(&jwk, ",\"\\u006awk\":{}"),
        header(&jwk, ",\"x\":[}"),
        header(&jwk, ",\"$serde_json::private::RawValue\":1"),
        header(&with("\"$serde_json::private::RawValue\":1"), ""),
        header(&format!("[{jwk}]"), ""),
        header(&serde_json::Value::from(jwk.clone()).to_string(), ""),
        header(&"[".repeat(900), ""),
    ] {
        assert_eq!(world.outcome(world.proof().raw_header(&header)).await, BAD, "{header}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_htm_is_compared_with_case() {
    let world = World::new();
    for htm in ["POST", "get", "Get", "GET ", "HEAD", "*", "GETGET"] {
        assert_eq!(world.outcome(world.proof().claim("htm", htm)).await, BAD, "{htm}");
    }
    for method in
        [Method::POST, Method::HEAD, Method::DELETE, Method::from_bytes(b"REPORT").unwrap()]
    {
        let proof = world.prover.proof(method.as_str(), URL).for_token(&world.token).mint();
        let authorization = format!("DPoP {}", world.token);
        let fields = [("authorization", &*authorization), ("dpop", &*proof)];
        let elsewhere = world.send(get("/r", &fields)).await;
        assert_eq!(refusal(&elsewhere), Some(ErrorKind::InvalidProof), "{method}");
        assert_eq!(world.send(request(method, "/r", &fields)).await.status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_ath_must_be_the_digest_of_the_token() {
    let world = World::new();
    let another = world.server.jwt().audience(AUDIENCE).bound_to(&world.prover).mint();
    assert_eq!(world.outcome(world.proof().for_token(&another)).await, BAD);
    // The example of RFC 9449 §7.1.
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let opaque =
        world.server.opaque().text(token).audience(AUDIENCE).bound_to(&world.prover).mint();
    let known =
        world.prover.proof("GET", URL).claim("ath", "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    assert_eq!(outcome_of(&world, &opaque, &known.mint()).await, Ok(()));
    for ath in [
        "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo=",
        "FUHYO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
        "7d41f23b6af66770d9e7712c36b5816f4c565e868dcb9f4888a080aa4b26404a",
        "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEp",
        token,
    ] {
        let proof = world.prover.proof("GET", URL).claim("ath", ath).mint();
        assert_eq!(outcome_of(&world, &opaque, &proof).await, BAD, "{ath}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_key_must_be_the_one_the_token_is_bound_to() {
    let world = World::new();
    let thief = Prover::new("thief").with_clock(world.clock.clone());
    let proof = thief.proof("GET", URL).for_token(&world.token).mint();
    let response = world.with_proof(&proof).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refusal(&response), Some(ErrorKind::UnprovenPossession));
    // RFC 9449 Figure 16.
    let told = challenges(&response);
    assert!(
        told[0].starts_with("DPoP ") && told[0].contains("error=\"invalid_token\""),
        "{told:?}"
    );
    // A thief who sends the public key of the owner cannot sign with it.
    let forged =
        thief.proof("GET", URL).for_token(&world.token).header("jwk", world.prover.jwk().clone());
    assert_eq!(outcome_of(&world, &world.token, &forged.mint()).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn jti_of_64_kib_is_refused() {
    let world = World::new();
    for length in [257, 64 << 10] {
        assert_eq!(
            world.outcome(world.proof().claim("jti", "j".repeat(length))).await,
            BAD,
            "{length}"
        );
    }
    assert_eq!(world.outcome(world.proof().claim("jti", "j".repeat(256))).await, Ok(()));
    assert_eq!(world.outcome(world.proof().claim("x", "x".repeat(1 << 20))).await, BAD);
    // A proof of the maximum length.
    assert_eq!(world.outcome(world.proof().claim("x", "x".repeat(5 << 10))).await, Ok(()));
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let claims = format!("{{\"jti\":\"a\",\"x\":{deep}}}");
    assert_eq!(world.outcome(world.proof().raw_claims(&claims)).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn access_token_and_proof_are_not_interchangeable() {
    let world = World::new();
    assert_eq!(outcome_of(&world, &world.token, &world.token).await, BAD);
    let proof = world.proof().mint();
    assert!(outcome_of(&world, &proof, &world.proof().mint()).await.is_err());
}

#[test]
fn invalid_settings_are_reported() {
    for url in ["api.example.com", "https://u@api.example.com", "https://api.example.com?a=b", ""] {
        let problem = Dpop::new(url).unwrap_err();
        assert!(problem.to_string().starts_with("url: "), "{problem}");
        assert!(dpop().or_url(url).is_err());
    }
    let shown = format!("{:?}", dpop().require_nonce());
    assert!(shown.contains("window") && !shown.contains("secret"), "{shown}");
}

proptest::proptest! {
    #[test]
    fn no_field_value_causes_a_panic_a_5xx_or_an_admission(field in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let Ok(value) = HeaderValue::from_bytes(&field) else { return Ok(()) };
        let layer = tower_introspect::IntrospectLayer::new(
            crate::support::ImmediateVerifier::claims(r#"{"aud":"https://api.example.com","cnf":{"jkt":"x"}}"#),
            policy().dpop(dpop()),
        );
        let mut request = get("/r", &[("authorization", "DPoP abc")]);
        request.headers_mut().insert("dpop", value);
        let response = tokio_test::block_on(ask(&layer, request));
        proptest::prop_assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}
