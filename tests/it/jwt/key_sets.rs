use super::*;

fn ec() -> SigningKey {
    key(Algorithm::ES256)
}

/// Returns the outcome of a valid token of the P-256 key, with a key set of this key and one that
/// did not sign it.
fn with_key(jwk: Value) -> Result<(), ErrorKind> {
    let keys = key_set(&[super::jwk(&key(Algorithm::EdDSA)), jwk]);
    let verifier = JwtVerifier::builder(ISSUER)
        .keys(keys)
        .algorithms([Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA])
        .build()
        .unwrap();
    verify(&verifier, &good(&ec())).map(drop)
}

/// W1
#[test]
fn rfc7517_5_a_set_is_an_object_with_an_array_keys() {
    let jwk = jwk(&ec()).to_string();
    for text in [
        "[]".to_owned(),
        format!("[{jwk}]"),
        format!("[[{jwk}]]"),
        "{}".into(),
        "null".into(),
        String::new(),
        format!("{{\"keys\":{jwk}}}"),
        "{\"keys\":null}".into(),
        "{\"keys\":\"x\"}".into(),
        format!("{{\"keys\":[],\"keys\":[{jwk}]}}"),
        format!("{{\"keys\":[{jwk}]}}x"),
        format!("{{\"keys\":[{jwk},]}}"),
        format!("{{\"keys\":[{jwk}"),
    ] {
        assert!(KeySet::from_jwks(text.as_bytes()).is_err(), "{text}");
    }
    assert!(KeySet::from_jwks(b"{\"keys\":[\xff]}").is_err());
    let text = format!(" {{\"x\":{{\"y\":[1]}},\"keys\":[{jwk}],\"keys2\":1}}\n");
    assert_eq!(KeySet::from_jwks(text.as_bytes()).unwrap().len(), 1);
    assert!(KeySet::from_jwks(b"{\"keys\":[]}").unwrap().is_empty());
    let deep = format!("{{\"keys\":[{}{}]}}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(KeySet::from_jwks(deep.as_bytes()).map_or(true, |keys| keys.is_empty()));
}

/// W2, G2, G3, G8, G9
#[test]
fn rfc7517_5_unusable_key_does_not_affect_others() {
    let ec = jwk(&ec());
    let rsa = jwk(&key(Algorithm::RS256));
    let okp = jwk(&key(Algorithm::EdDSA));
    let x = ec["x"].as_str().unwrap().to_owned();
    let bytes = URL_SAFE_NO_PAD.decode(&x).unwrap();
    let bad = [
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"}),
        json!({"kty": "oct", "k": encode([7; 32])}),
        json!({}),
        json!(null),
        json!("key"),
        json!([]),
        json!({"kty": 7}),
        with(ec.clone(), "kid", 7),
        with(ec.clone(), "crv", "P-521"),
        with(ec.clone(), "crv", "secp256k1"),
        with(ec.clone(), "crv", "P-384"),
        with(ec.clone(), "y", Value::Null),
        // Off the curve.
        with(ec.clone(), "y", x.clone()),
        // Short and long coordinates.
        with(ec.clone(), "x", encode(&bytes[1..])),
        with(ec.clone(), "x", encode([&[0], &*bytes].concat())),
        with(ec.clone(), "x", format!("{x}=")),
        with(ec.clone(), "alg", "ES384"),
        with(ec.clone(), "alg", "RS256"),
        with(ec.clone(), "alg", "HS256"),
        with(ec.clone(), "alg", "ECDH-ES"),
        with(ec.clone(), "alg", 7),
        with(okp.clone(), "crv", "X25519"),
        with(okp.clone(), "crv", "Ed448"),
        with(okp.clone(), "x", encode([1; 31])),
        with(okp, "kty", "EC"),
        with(rsa.clone(), "n", encode([0xff; 128])),
        with(rsa.clone(), "n", encode([0xff; 255])),
        with(rsa.clone(), "n", encode([0xff; 16_384])),
        with(rsa.clone(), "n", Value::Null),
        with(rsa.clone(), "e", "AQ"),
        with(rsa.clone(), "e", "Ag"),
        with(rsa.clone(), "e", ""),
        with(rsa.clone(), "e", encode([0xff; 256])),
        with(rsa.clone(), "alg", "RSA-OAEP"),
        with(rsa, "n", "not base64!"),
    ];
    for jwk in &bad {
        assert!(key_set(std::slice::from_ref(jwk)).is_empty(), "{jwk}");
    }
    let mut all = bad.to_vec();
    all.push(ec);
    accepts(&verifier_with(key_set(&all)), &good(&super::key(Algorithm::ES256)));

    let repeated = r#"{"keys":[{"kty":"EC","kty":"RSA"},KEY]}"#;
    let text = repeated.replace("KEY", &jwk(&super::key(Algorithm::ES256)).to_string());
    assert_eq!(KeySet::from_jwks(text.as_bytes()).unwrap().len(), 1);
}

/// W3
#[test]
fn rfc7517_4_2_key_for_encryption_is_not_used() {
    assert_eq!(with_key(jwk(&ec())), Ok(()));
    assert_eq!(with_key(with(jwk(&ec()), "use", Value::Null)), Ok(()));
    for purpose in [json!("enc"), json!("SIG"), json!("")] {
        let jwk = with(jwk(&ec()), "use", purpose);
        assert_eq!(with_key(jwk), Err(ErrorKind::UnknownKey));
    }
    let malformed = with(jwk(&ec()), "use", json!(["sig"]));
    assert_eq!(with_key(malformed), Err(ErrorKind::UnusableKey));
}

/// W4
#[test]
fn rfc7517_4_3_key_without_the_verify_operation_is_not_used() {
    // An array without elements is absent.
    for operations in [json!(["sign", "verify"]), json!([]), Value::Null] {
        assert_eq!(with_key(with(jwk(&ec()), "key_ops", operations)), Ok(()));
    }
    for operations in [json!(["sign"]), json!(["Verify"])] {
        let jwk = with(jwk(&ec()), "key_ops", operations);
        assert_eq!(with_key(jwk), Err(ErrorKind::UnknownKey));
    }
    for malformed in [json!("verify"), json!([7]), json!([[]]), json!({})] {
        let jwk = with(jwk(&ec()), "key_ops", malformed);
        assert_eq!(with_key(jwk), Err(ErrorKind::UnusableKey));
    }
}

/// W5
#[test]
fn rfc7517_4_5_all_fitting_keys_with_the_kid_are_tried() {
    let same = |key: SigningKey| jwk(&key.with_kid("same"));
    let other = SigningKey::from_pem(Algorithm::ES256, P256_OTHER).unwrap();
    let rsa_other = SigningKey::from_pem(Algorithm::RS256, RSA_OTHER).unwrap();
    let verifier = verifier_with(key_set(&[
        same(rsa_other),
        same(other),
        same(key(Algorithm::RS256)),
        same(ec()),
    ]));
    accepts(&verifier, &good(&ec().with_kid("same")));
    accepts(&verifier, &good(&key(Algorithm::PS512).with_kid("same")));
    let token = good(&key(Algorithm::EdDSA).with_kid("same"));
    refuses(&verifier, &token, ErrorKind::UnsupportedAlgorithm);
}

/// W6: a key without a `kid` may be tried; a key with another `kid` is not.
#[test]
fn rfc7517_4_5_key_without_kid_is_tried() {
    let nameless = with(jwk(&ec()), "kid", Value::Null);
    assert_eq!(with_key(nameless.clone()), Ok(()));
    let verifier = verifier_with(key_set(std::slice::from_ref(&nameless)));
    // The key set has no key with the `kid` of the token, so the key may be new.
    let other = SigningKey::from_pem(Algorithm::ES256, P256_OTHER).unwrap();
    refuses(&verifier, &good(&other.clone().with_kid("new")), ErrorKind::UnknownKey);
    refuses(&verifier, &good(&other.clone()), ErrorKind::BadSignature);
    // With a key of that `kid`, only that key is tried.
    let named = jwk(&other.with_kid("p256"));
    let both = verifier_with(key_set(&[nameless, named]));
    refuses(&both, &good(&ec()), ErrorKind::BadSignature);
}

/// J15
#[test]
fn rfc7515_4_1_4_no_other_key_is_tried_for_an_unknown_kid() {
    refuses(&verifier(), &good(&ec().with_kid("other")), ErrorKind::UnknownKey);
}

/// J16
#[test]
fn rfc7517_4_5_all_fitting_keys_are_tried_without_kid() {
    let other = SigningKey::from_pem(Algorithm::RS256, RSA_OTHER).unwrap().with_kid("other");
    let verifier = verifier_with(key_set(&[
        jwk(&other),
        jwk(&ec()),
        jwk(&key(Algorithm::EdDSA)),
        jwk(&key(Algorithm::RS256)),
    ]));
    for pem in [RSA, RSA_OTHER] {
        accepts(&verifier, &good(&SigningKey::from_pem(Algorithm::RS256, pem).unwrap()));
        accepts(&verifier, &good(&SigningKey::from_pem(Algorithm::PS384, pem).unwrap()));
    }
    let other = SigningKey::from_pem(Algorithm::ES256, P256_OTHER).unwrap();
    refuses(&verifier, &good(&other), ErrorKind::BadSignature);
    let es384 = SigningKey::from_pem(Algorithm::ES384, P384).unwrap();
    let allowed = JwtVerifier::builder(ISSUER)
        .keys(key_set(&[jwk(&ec())]))
        .algorithms([Algorithm::ES256, Algorithm::ES384])
        .build()
        .unwrap();
    refuses(&allowed, &good(&es384), ErrorKind::UnknownKey);
}

/// J16: at most four signatures are checked for a token.
#[test]
fn at_most_four_keys_are_tried() {
    let mut keys = vec![jwk(&SigningKey::from_pem(Algorithm::ES256, P256_OTHER).unwrap()); 4];
    keys.push(with(jwk(&ec()), "kid", Value::Null));
    let token = good(&SigningKey::from_pem(Algorithm::ES256, P256).unwrap());
    refuses(&verifier_with(key_set(&keys)), &token, ErrorKind::UntriedKeys);
    accepts(&verifier_with(key_set(&keys[1..])), &token);
}

/// W7
#[test]
fn rfc7517_9_3_private_members_are_not_read() {
    for (name, value) in [("d", json!("x")), ("p", json!(7)), ("oth", json!([])), ("k", json!("x"))]
    {
        assert_eq!(with_key(with(jwk(&ec()), name, value)), Ok(()));
    }
    let keys = key_set(&[with(jwk(&ec()), "d", "c2VjcmV0LXNlY3JldC1zZWNyZXQ")]);
    assert!(!format!("{keys:?}").contains("c2Vj"));
}

/// W8
#[test]
fn rfc7517_4_7_certificates_do_not_select_a_key() {
    let other = SigningKey::from_pem(Algorithm::ES256, P256_OTHER).unwrap().with_kid("p256");
    let dressed = with(with(jwk(&other), "x5t", "dGVzdA"), "x5c", json!(["MIIB"]));
    assert_eq!(with_key(dressed), Err(ErrorKind::BadSignature));
    assert_eq!(with_key(with(jwk(&ec()), "x5c", json!(["not a certificate"]))), Ok(()));
}

/// G11
#[test]
fn a_secret_in_a_key_set_is_not_used() {
    let secret = [7; 64];
    let oct = json!({"kty": "oct", "k": encode(secret), "kid": "s", "alg": "HS256"});
    assert!(KeySet::from_jwk(oct.to_string().as_bytes()).is_err());
    let verifier = verifier_with(key_set(&[oct, jwk(&ec())]));
    let mac = SigningKey::from_secret(Algorithm::HS256, &secret).unwrap().with_kid("s");
    refuses(&verifier, &good(&mac), ErrorKind::UnsupportedAlgorithm);
    accepts(&verifier, &good(&ec()));
}

#[test]
fn the_first_64_usable_keys_of_a_set_are_kept() {
    let keys = |count| vec![jwk(&ec()); count];
    assert_eq!(key_set(&keys(64)).len(), 64);
    assert_eq!(key_set(&keys(65)).len(), 64);
    let unusable = vec![json!({"kty": "x"}); 100];
    assert_eq!(key_set(&[unusable, keys(3)].concat()).len(), 3);
}

#[test]
fn leading_zeros_of_rsa_numbers_are_tolerated() {
    let mut jwk = jwk(&key(Algorithm::RS256));
    for name in ["n", "e"] {
        let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        jwk[name] = encode([&[0], &*bytes].concat()).into();
    }
    accepts(&verifier_with(key_set(&[jwk])), &good(&key(Algorithm::RS256)));
}
