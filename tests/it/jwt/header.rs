use super::*;

/// Returns a token of the P-256 key with this header and valid claims.
fn with_header_text(header: impl AsRef<[u8]>) -> String {
    sign_text(&key(Algorithm::ES256), header, claims_of_alice().to_string())
}

/// J4
#[test]
fn rfc7515_5_2_the_header_is_one_json_object_in_utf8() {
    let good = r#"{"alg":"ES256","typ":"at+jwt","kid":"p256"}"#;
    accepts(&verifier(), &with_header_text(good));
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for header in [
        "[]".into(),
        format!("[{good}]"),
        "null".into(),
        "\"ES256\"".into(),
        "7".into(),
        String::new(),
        format!("\u{feff}{good}"),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("{good}\0"),
        good.replace('}', ",\"x\":NaN}"),
        good.replace('}', ",}"),
        good.replace('{', "{/**/"),
        good.replace('"', "'"),
        good.replace("alg", "al\u{0}g"),
    ] {
        refuses(&verifier(), &with_header_text(header), ErrorKind::MalformedToken);
    }
    refuses(&verifier(), &with_header_text(utf16), ErrorKind::MalformedToken);
    let latin1 = [good.trim_end_matches('}').as_bytes(), b",\"x\":\"\xe9\"}"].concat();
    refuses(&verifier(), &with_header_text(latin1), ErrorKind::MalformedToken);
}

/// J5
#[test]
fn rfc7515_4_repeated_header_parameters_are_refused() {
    for header in [
        r#"{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"p256"}"#,
        r#"{"alg":"ES256","typ":"at+jwt","kid":"p256","alg":"none"}"#,
        r#"{"alg":"ES256","\u0061lg":"ES256","typ":"at+jwt","kid":"p256"}"#,
        r#"{"alg":"ES256","typ":"at+jwt","kid":"p256","kid":"p256"}"#,
        r#"{"alg":"ES256","typ":"at+jwt","kid":"p256","x":1,"x":1}"#,
        r#"{"alg":"ES256","typ":"at+jwt","kid":"p256","x":{"y":1,"y":2}}"#,
    ] {
        refuses(&verifier(), &with_header_text(header), ErrorKind::MalformedToken);
    }
}

/// J6, G10
#[test]
fn rfc8725_3_1_alg_is_one_of_the_allowed_names() {
    for alg in [json!(null), json!(["ES256"]), json!({}), json!(256), json!(true)] {
        let header = if alg.is_null() {
            r#"{"alg":null,"typ":"at+jwt","kid":"p256"}"#.to_owned()
        } else {
            with(header_of(&key(Algorithm::ES256)), "alg", alg).to_string()
        };
        refuses(&verifier(), &with_header_text(header), ErrorKind::MalformedToken);
    }
    refuses(&verifier(), &with_header("alg", Value::Null), ErrorKind::MalformedToken);
    for alg in ["es256", "ES256 ", " ES256", "ES512", "ES256K", "Ed448", "", "SHA256", "ES256\0"] {
        refuses(&verifier(), &with_header("alg", alg), ErrorKind::UnsupportedAlgorithm);
    }
    let only_rsa = JwtVerifier::builder(ISSUER)
        .keys(issuer_keys())
        .algorithms([Algorithm::RS256])
        .build()
        .unwrap();
    refuses(&only_rsa, &good(&key(Algorithm::ES256)), ErrorKind::UnsupportedAlgorithm);
    refuses(&only_rsa, &good(&key(Algorithm::PS256)), ErrorKind::UnsupportedAlgorithm);
    accepts(&only_rsa, &good(&key(Algorithm::RS256)));
}

/// J7, A6
#[test]
fn rfc7518_3_6_none_is_refused_in_every_spelling() {
    let claims = claims_of_alice().to_string();
    for alg in ["none", "None", "NONE", "nOnE", "\\u006eone", "n\\u006Fne", "ｎｏｎｅ", "none "]
    {
        for rest in [r#","typ":"at+jwt""#, r#","typ":"at+jwt","kid":"p256""#] {
            let header = format!("{{\"alg\":\"{alg}\"{rest}}}");
            let signed = with_header_text(&header);
            refuses(&verifier(), &signed, ErrorKind::UnsupportedAlgorithm);
            let bare = format!("{}.{}.", encode(&header), encode(&claims));
            refuses(&verifier(), &bare, ErrorKind::UnsupportedAlgorithm);
        }
    }
    // A valid header without a signature.
    let header = header_of(&key(Algorithm::ES256)).to_string();
    let bare = format!("{}.{}.", encode(header), encode(claims));
    refuses(&verifier(), &bare, ErrorKind::BadSignature);
}

/// J10
#[test]
fn rfc7515_4_1_11_crit_is_refused() {
    for crit in [
        json!(["exp"]),
        json!(["b64"]),
        json!(["urn:example:x"]),
        json!([]),
        json!("exp"),
        json!({}),
        json!(7),
        json!(["x", "x"]),
        json!(["alg"]),
    ] {
        refuses(&verifier(), &with_header("crit", crit), ErrorKind::UnsupportedExtension);
    }
    let header = r#"{"alg":"ES256","typ":"at+jwt","kid":"p256","crit":null}"#;
    refuses(&verifier(), &with_header_text(header), ErrorKind::UnsupportedExtension);
}

/// J11
#[test]
fn rfc7797_6_an_unencoded_payload_is_refused() {
    let key = key(Algorithm::ES256);
    for header in [
        with(header_of(&key), "b64", false),
        with(header_of(&key), "b64", true),
        with(with(header_of(&key), "b64", false), "crit", json!(["b64"])),
    ] {
        let token = key.sign(&header, &claims_of_alice()).unwrap();
        refuses(&verifier(), &token, ErrorKind::UnsupportedExtension);
        let unencoded = sign_parts(&key, &encode(header.to_string()), "payloads");
        refuses(&verifier(), &unencoded, ErrorKind::UnsupportedExtension);
    }
}

/// J12
#[test]
fn rfc7515_4_unknown_header_parameters_are_ignored() {
    for (name, value) in [
        ("foo", json!(1)),
        ("zip", json!("DEF")),
        ("iss", json!("https://evil.example.com")),
        ("nonce", json!("x")),
        ("x5t", json!("dGVzdA")),
        ("", json!({"a": [1, 2, {"b": null}]})),
    ] {
        accepts(&verifier(), &with_header(name, value));
    }
}

/// J13: nothing is fetched either, since this verifier has no transport.
#[test]
fn rfc8725_3_10_keys_in_the_header_are_ignored() {
    let attacker = SigningKey::from_pem(Algorithm::ES256, P256_OTHER).unwrap().with_kid("p256");
    let offers = [
        ("jwk", attacker.public_jwk().unwrap()),
        ("jku", json!("https://evil.example.com/jwks")),
        ("x5u", json!("https://evil.example.com/cert")),
        ("x5c", json!(["MIIB"])),
    ];
    for (name, value) in offers {
        let header = with(header_of(&attacker), name, value.clone());
        let forged = attacker.sign(&header, &claims_of_alice()).unwrap();
        refuses(&verifier(), &forged, ErrorKind::BadSignature);
        let header = with(with(header, "kid", Value::Null), "typ", "at+jwt");
        let forged = attacker.sign(&header, &claims_of_alice()).unwrap();
        refuses(&verifier(), &forged, ErrorKind::BadSignature);
        // With a valid signature they are ignored.
        accepts(&verifier(), &with_header(name, value));
    }
}

/// J14
#[test]
fn rfc7515_4_1_4_kid_is_a_string_and_only_compared() {
    for kid in [json!(7), json!(["p256"]), json!({}), json!(true)] {
        refuses(&verifier(), &with_header("kid", kid), ErrorKind::MalformedToken);
    }
    for kid in
        ["../../dev/null", "' OR 1=1 --", "p256\0", "P256", "p256 ", "p", "", "https://x/", "ｐ256"]
    {
        refuses(&verifier(), &with_header("kid", kid), ErrorKind::UnknownKey);
    }
    let long = with_header("kid", "k".repeat(40 * 1024));
    refuses(&verifier(), &long, ErrorKind::MalformedToken);
    let escaped = r#"{"alg":"ES256","typ":"at+jwt","kid":"p\u0032\u00356"}"#;
    accepts(&verifier(), &with_header_text(escaped));
}

/// A1, A2
#[test]
fn rfc9068_4_typ_must_be_that_of_an_access_token() {
    for typ in ["at+jwt", "at+JWT", "AT+JWT", "application/at+jwt", "Application/AT+JWT"] {
        accepts(&verifier(), &with_header("typ", typ));
        accepts(&strict(), &with_header("typ", typ));
    }
    let other = ErrorKind::WrongTokenKind(TokenKind::Other);
    for typ in ["at+jwt;v=1", "text/at+jwt", "at+jwt ", "", "at", "application/", "x-at+jwt"] {
        refuses(&verifier(), &with_header("typ", typ), other);
        refuses(&strict(), &with_header("typ", typ), other);
    }
    for typ in [json!("JWT"), json!("application/jwt"), Value::Null] {
        refuses(&strict(), &with_header("typ", typ.clone()), other);
        accepts(&verifier(), &with_header("typ", typ));
    }
    for typ in [json!(["at+jwt"]), json!(7)] {
        refuses(&verifier(), &with_header("typ", typ), ErrorKind::MalformedToken);
    }
}

/// Y5, by type
#[test]
fn rfc8725_3_11_other_types_are_refused() {
    for (typ, kind) in [
        ("dpop+jwt", TokenKind::DpopProof),
        ("secevent+jwt", TokenKind::SecurityEvent),
        ("logout+jwt", TokenKind::Logout),
        ("Logout+JWT", TokenKind::Logout),
        ("application/token-introspection+jwt", TokenKind::IntrospectionResponse),
        ("client-authentication+jwt", TokenKind::ClientAssertion),
        ("rt+jwt", TokenKind::Refresh),
        ("oauth-authz-req+jwt", TokenKind::Other),
        ("jarm+jwt", TokenKind::Other),
        ("id_token+jwt", TokenKind::Other),
        ("vc+sd-jwt", TokenKind::Other),
    ] {
        for verifier in [verifier(), strict()] {
            refuses(&verifier, &with_header("typ", typ), ErrorKind::WrongTokenKind(kind));
        }
    }
}
