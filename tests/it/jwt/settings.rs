use super::*;

fn problems(builder: tower_introspect::jwt::JwtVerifierBuilder) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn verifier_without_keys_or_issuer_is_not_built() {
    let none = JwtVerifier::builder("").keys(KeySet::default());
    let shown = problems(none);
    assert!(shown.contains("issuer: "), "{shown}");
    assert!(shown.contains("keys: "), "{shown}");
}

/// J8: an HMAC algorithm without a secret is a mistake in the configuration.
#[test]
fn rfc8725_3_1_hmac_algorithm_without_a_secret_is_refused() {
    let builder = JwtVerifier::builder(ISSUER)
        .keys(issuer_keys())
        .algorithms([Algorithm::RS256, Algorithm::HS256]);
    assert_eq!(problems(builder), "algorithms: HS256 needs a secret in `keys`");
    let other_size = KeySet::from_secret(Algorithm::HS512, &[7; 64]).unwrap();
    let builder = JwtVerifier::builder(ISSUER).keys(other_size).algorithms([Algorithm::HS256]);
    assert!(problems(builder).contains("HS256 needs a secret"));
}

#[test]
fn algorithms_that_no_key_supports_are_refused() {
    let keys = || key_set(&[jwk(&key(Algorithm::ES256))]);
    for algorithms in [vec![], vec![Algorithm::RS256]] {
        let builder = JwtVerifier::builder(ISSUER).keys(keys()).algorithms(algorithms);
        assert!(problems(builder).starts_with("algorithms: "));
    }
}

/// G1, Y6
#[test]
fn rfc7518_3_2_a_secret_has_at_least_the_length_of_the_hash() {
    for (algorithm, least) in
        [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)]
    {
        let secret = vec![7; least];
        let verifier = verifier_with(KeySet::from_secret(algorithm, &secret).unwrap());
        accepts(&verifier, &good(&SigningKey::from_secret(algorithm, &secret).unwrap()));
        assert!(KeySet::from_secret(algorithm, &secret[1..]).is_err());
        assert!(SigningKey::from_secret(algorithm, &secret[1..]).is_err());
    }
}

#[test]
fn debug_shows_neither_keys_nor_tokens() {
    let secret = KeySet::from_secret(Algorithm::HS256, b"0123456789abcdef0123456789abcdef");
    let verifier = verifier_with(secret.unwrap());
    let shown = format!("{verifier:?} {:?}", verify(&verifier, "a.b.c"));
    assert!(!shown.contains("0123456789"), "{shown}");
    assert!(shown.contains("HS256"));
}

#[test]
fn kid_of_a_pem_key_can_be_set() {
    let public = include_bytes!("../keys/p256.pub.pem");
    let named = KeySet::from_pem(Algorithm::ES256, public).unwrap().with_kid("p256");
    let clone = named.clone();
    accepts(&verifier_with(named.with_kid("other")), &good(&key(Algorithm::ES256)));
    let verifier = verifier_with(clone);
    refuses(&verifier, &good(&key(Algorithm::ES256).with_kid("x")), ErrorKind::UnknownKey);
}
