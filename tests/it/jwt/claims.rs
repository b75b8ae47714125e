use super::*;

/// Returns a token of the P-256 key with a valid header and this payload.
fn with_payload(payload: impl AsRef<[u8]>) -> String {
    let key = key(Algorithm::ES256);
    sign_text(&key, header_of(&key).to_string(), payload)
}

/// Returns valid claims as text, with these members appended.
fn text_with(members: &str) -> String {
    format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","exp":4102444800,{members}}}"#)
}

/// J17
#[test]
fn rfc7519_7_2_the_payload_is_one_json_object_in_utf8() {
    let good = claims_of_alice().to_string();
    for payload in [
        "[]".to_owned(),
        "\"x\"".into(),
        "null".into(),
        String::new(),
        "{}{}".into(),
        format!("{good}{good}"),
        format!("{good},"),
        format!("\u{feff}{good}"),
        format!("[{good}]"),
    ] {
        refuses(&verifier(), &with_payload(payload), ErrorKind::MalformedToken);
    }
    let latin1 = [text_with("\"x\":\"").trim_end_matches('}').as_bytes(), b"\xe9\"}"].concat();
    refuses(&verifier(), &with_payload(latin1), ErrorKind::MalformedToken);
    accepts(&verifier(), &with_payload(format!(" \r\n\t{good} \n")));
}

/// J18
#[test]
fn rfc7519_4_repeated_claims_are_refused() {
    for members in [
        r#""exp":1"#,
        r#""scope":"read","scope":"admin""#,
        r#""sub":"a","s\u0075b":"b""#,
        r#""aud":"x""#,
        r#""iss":"x""#,
        r#""x":{"roles":1,"roles":2}"#,
        r#""x":[[{"a":1,"a":2}]]"#,
    ] {
        refuses(&verifier(), &with_payload(text_with(members)), ErrorKind::MalformedToken);
    }
}

/// J19
#[test]
fn rfc7519_4_unknown_claims_are_ignored() {
    let many: Vec<_> = (0..100).map(|n| format!("\"claim{n}\":{{\"n\":[{n}]}}")).collect();
    let active = accepts(&verifier(), &with_payload(text_with(&many.join(","))));
    assert_eq!(active.claims().names().count(), 103);
}

/// J22
#[test]
fn rfc7519_4_1_4_dates_are_numbers() {
    for name in ["exp", "nbf", "iat"] {
        for value in [json!("4102444800"), json!(true), json!([1]), json!({"n": 1})] {
            let kind = ErrorKind::InvalidClaim(name);
            refuses(&verifier(), &with_claim(name, value), kind);
        }
        let null = claims_of_alice().to_string().replacen('{', &format!("{{\"{name}\":null,"), 1);
        let once = match name {
            "nbf" => null,
            _ => text_with("").replace(",}", "}").replace(
                if name == "exp" { "\"exp\":4102444800" } else { "\"exp\"" },
                if name == "exp" { "\"exp\":null" } else { "\"iat\":null,\"exp\"" },
            ),
        };
        refuses(&verifier(), &with_payload(once), ErrorKind::InvalidClaim(name));
    }
}

/// J23, J24: the dates are parsed, and the policy compares them with the clock.
#[test]
fn rfc7519_2_dates_have_any_size_and_form() {
    for exp in [
        "1893456000.5",
        "1e10",
        "9223372036854775807",
        "18446744073709551616",
        "1e308",
        "1e999",
        "-1",
        "-9223372036854775808",
        "0",
        "0.0000001",
    ] {
        let claims = text_with("").replace(",}", "}").replace("4102444800", exp);
        assert!(accepts(&verifier(), &with_payload(claims)).claims().expires_at().is_some());
    }
    let nbf = accepts(&verifier(), &with_payload(text_with("\"nbf\":1.5")));
    assert_eq!(nbf.claims().not_before().map(|time| time.as_millis()), Some(1500));
}

/// J26
#[test]
fn rfc7519_4_1_3_aud_is_a_string_or_strings() {
    for aud in [json!({}), json!(7), json!(true), json!([AUDIENCE, 7]), json!([[AUDIENCE]])] {
        refuses(&verifier(), &with_claim("aud", aud), ErrorKind::InvalidClaim("aud"));
    }
    let active = accepts(&verifier(), &with_claim("aud", json!(["x", AUDIENCE])));
    assert!(active.claims().audience().contains(AUDIENCE));
    for other in ["https://api.example.com/", "https://API.example.com", "https://api.example.co"] {
        assert!(!active.claims().audience().contains(other));
    }
}

/// Y4, A5
#[test]
fn rfc9068_4_aud_is_required() {
    for verifier in [verifier(), strict()] {
        refuses(&verifier, &with_claim("aud", Value::Null), ErrorKind::MissingClaim("aud"));
        // It is for nobody.
        refuses(&verifier, &with_claim("aud", json!([])), ErrorKind::WrongAudience);
    }
}

/// A7
#[test]
fn rfc9068_4_exp_is_required() {
    for verifier in [verifier(), strict()] {
        let token = with_claim("exp", Value::Null);
        refuses(&verifier, &token, ErrorKind::MissingClaim("exp"));
    }
}

/// A4, J27
#[test]
fn rfc9068_4_iss_must_equal_the_issuer() {
    for iss in [
        "https://as.example.com/",
        "https://AS.example.com",
        "HTTPS://as.example.com",
        "https://as.example.com:443",
        "https://as.example.com.evil.com",
        "https://as.example.co",
        "as.example.com",
        "https://аs.example.com",
        "https://as.example.com ",
        "",
    ] {
        refuses(&verifier(), &with_claim("iss", iss), ErrorKind::WrongIssuer);
    }
    refuses(&verifier(), &with_claim("iss", Value::Null), ErrorKind::MissingClaim("iss"));
    for iss in [json!([ISSUER]), json!(["https://evil", ISSUER]), json!(5), json!({})] {
        refuses(&verifier(), &with_claim("iss", iss), ErrorKind::InvalidClaim("iss"));
    }
    let escaped = text_with("\"x\":1").replace("https://as", "https:\\u002f\\/as");
    accepts(&verifier(), &with_payload(escaped));
    let unicode =
        JwtVerifier::builder("https://as.example.com/\u{e9}").keys(issuer_keys()).build().unwrap();
    accepts(&unicode, &with_claim("iss", "https://as.example.com/\u{e9}"));
    // The same letter, decomposed.
    let nfd = with_claim("iss", "https://as.example.com/e\u{301}");
    refuses(&unicode, &nfd, ErrorKind::WrongIssuer);
}

/// J32
#[test]
fn deep_nesting_is_refused_without_a_stack_overflow() {
    let deep = |depth: usize| format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth));
    accepts(&verifier(), &with_payload(text_with(&deep(20))));
    for depth in [100, 1_000, 20_000] {
        let token = with_payload(text_with(&deep(depth)));
        refuses(&verifier(), &token, ErrorKind::MalformedToken);
    }
    let key = key(Algorithm::ES256);
    let header = format!(r#"{{"alg":"ES256","kid":"p256","typ":"at+jwt",{}}}"#, deep(2_000));
    let token = sign_text(&key, header, claims_of_alice().to_string());
    refuses(&verifier(), &token, ErrorKind::MalformedToken);
    let objects = format!("\"x\":{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    refuses(&verifier(), &with_payload(text_with(&objects)), ErrorKind::MalformedToken);
}

/// Y5, by claims
#[test]
fn rfc8725_3_12_other_kinds_of_jwt_are_refused_by_their_claims() {
    let logout = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    for (name, value, kind) in [
        ("at_hash", json!("x"), TokenKind::Id),
        ("c_hash", json!("x"), TokenKind::Id),
        ("s_hash", json!("x"), TokenKind::Id),
        ("token_use", json!("id"), TokenKind::Id),
        ("typ", json!("ID"), TokenKind::Id),
        ("typ", json!("Refresh"), TokenKind::Refresh),
        ("typ", json!("Offline"), TokenKind::Refresh),
        ("typ", json!("Logout"), TokenKind::Logout),
        ("token_use", json!("refresh"), TokenKind::Refresh),
        ("token_type", json!("refresh_token"), TokenKind::Refresh),
        ("events", logout, TokenKind::Logout),
        ("events", json!({"urn:example:event": {}}), TokenKind::SecurityEvent),
        ("token_introspection", json!({"active": true}), TokenKind::IntrospectionResponse),
        ("typ", json!("RegistrationAccessToken"), TokenKind::Other),
        ("typ", json!("InitialAccessToken"), TokenKind::Other),
        ("typ", json!("Serialized-ID"), TokenKind::Id),
        ("token_use", json!("something else"), TokenKind::Other),
        ("token_use", json!(7), TokenKind::Other),
    ] {
        let key = key(Algorithm::ES256);
        let header = with(header_of(&key), "typ", "JWT");
        let token = key.sign(&header, &with(claims_of_alice(), name, value)).unwrap();
        refuses(&verifier(), &token, ErrorKind::WrongTokenKind(kind));
    }
    // A token whose claims say that it is another kind is refused whatever its header is.
    for (name, value, kind) in
        [("typ", json!("ID"), TokenKind::Id), ("token_use", json!("refresh"), TokenKind::Refresh)]
    {
        for verifier in [verifier(), strict()] {
            let token = with_claim(name, value.clone());
            refuses(&verifier, &token, ErrorKind::WrongTokenKind(kind));
        }
    }
}

/// Y5: private claims may have any name, and the type of the header decides.
#[test]
fn rfc9068_4_private_claims_do_not_change_the_kind_of_a_typed_token() {
    let key = key(Algorithm::ES256);
    let untyped = with(header_of(&key), "typ", "JWT");
    for name in ["events", "token_introspection"] {
        for value in [json!({}), json!({"a": 1}), json!([1]), json!("text"), json!(true)] {
            let claims = with(claims_of_alice(), name, value.clone());
            for verifier in [verifier(), strict()] {
                accepts(&verifier, &key.sign(&header_of(&key), &claims).unwrap());
            }
            // Without the type, only an object counts.
            let token = key.sign(&untyped, &claims).unwrap();
            assert_eq!(verify(&verifier(), &token).is_err(), value.is_object(), "{name} {value}");
        }
    }
}

/// Y5
#[test]
fn rfc8725_3_12_order_of_claims_does_not_change_the_kind() {
    let key = key(Algorithm::ES256);
    let header = with(header_of(&key), "typ", "JWT").to_string();
    for (mut members, kind) in [
        ([r#""token_introspection":{}"#, r#""events":{}"#], Some(TokenKind::SecurityEvent)),
        ([r#""typ":"ID""#, r#""token_type":"refresh_token""#], Some(TokenKind::Id)),
        ([r#""typ":"Logout""#, r#""token_use":"id""#], Some(TokenKind::Logout)),
        ([r#""token_use":"access""#, r#""token_type":"refresh""#], Some(TokenKind::Refresh)),
        ([r#""nonce":"n""#, r#""scp":["read"]"#], None),
        ([r#""nonce":"n""#, r#""token_use":"access""#], None),
        ([r#""nonce":"n""#, r#""token_use":"other""#], Some(TokenKind::Other)),
        ([r#""at_hash":"x""#, r#""token_type":"Bearer""#], Some(TokenKind::Id)),
        ([r#""nonce":"n""#, r#""token_type":"Bearer""#], None),
        ([r#""at_hash":"x""#, r#""typ":"Bearer""#], None),
        ([r#""sub":"s""#, r#""token_type":"access""#], None),
        ([r#""sub":"s""#, r#""token_type":"unknown""#], Some(TokenKind::Unmarked)),
        ([r#""sub":"s""#, r#""typ":"unknown""#], Some(TokenKind::Unmarked)),
        ([r#""sub":"s""#, r#""scope":"""#], Some(TokenKind::Unmarked)),
        ([r#""sub":"s""#, r#""azp":"web""#], Some(TokenKind::Unmarked)),
    ] {
        for _ in 0..2 {
            let token = sign_text(&key, &header, text_with(&members.join(",")));
            let refused = kind.map_or(Ok(()), |kind| Err(ErrorKind::WrongTokenKind(kind)));
            assert_eq!(verify(&verifier(), &token).map(drop), refused, "{members:?}");
            members.reverse();
        }
    }
}

/// Y5: the ID token of OpenID Connect Core §2, and access tokens with similar claims.
#[test]
fn oidc_core_2_id_token_is_refused() {
    let key = key(Algorithm::RS256);
    let header = with(header_of(&key), "typ", "JWT");
    let id_token = with(
        with(with(claims_of_alice(), "scope", Value::Null), "nonce", "n"),
        "auth_time",
        1_700_000_000,
    );
    let kind = ErrorKind::WrongTokenKind(TokenKind::Id);
    refuses(&verifier(), &key.sign(&header, &id_token).unwrap(), kind);
    // One server adds `nonce` to its access tokens, which have another mark.
    let marked = with(id_token.clone(), "typ", "Bearer");
    accepts(&verifier(), &key.sign(&header, &marked).unwrap());
    let hashed = with(id_token.clone(), "at_hash", "x");
    for access_token in [&id_token, &hashed] {
        accepts(&verifier(), &key.sign(&header_of(&key), access_token).unwrap());
    }
    // Under RFC 9068 only `typ` counts.
    let other = ErrorKind::WrongTokenKind(TokenKind::Other);
    refuses(&strict(), &key.sign(&header, &id_token).unwrap(), other);
}

/// A10
#[test]
fn rfc9068_2_2_other_claims_may_be_absent() {
    for name in ["sub", "client_id", "iat", "jti", "scope"] {
        accepts(&verifier(), &with_claim(name, Value::Null));
    }
    refuses(&verifier(), &with_claim("sub", 7), ErrorKind::InvalidClaim("sub"));
}

/// No cutoff would find a token with another identifier.
#[test]
fn rfc7519_4_1_7_identifier_of_a_token_is_a_string() {
    for value in [json!(7), json!(["7"]), json!({}), json!(true)] {
        refuses(&verifier(), &with_claim("jti", value), ErrorKind::InvalidClaim("jti"));
    }
    let odd = accepts(&verifier(), &with_claim("jti", ""));
    assert_eq!(odd.claims().jwt_id().as_deref(), Some(""));
}

/// A11
#[test]
fn rfc9068_2_2_3_scope_is_a_space_delimited_string() {
    let active = accepts(&verifier(), &with_claim("scope", "read write"));
    assert!(active.claims().scope().contains("write"));
    // One server product writes an array.
    let array = with_claim("scope", json!(["read"]));
    assert_eq!(accepts(&verifier(), &array).claims().scope().as_str(), "read");
    assert!(accepts(&strict(), &array).claims().scope().is_empty());
}

#[test]
fn scope_may_be_read_from_another_claim() {
    let named = |name: &str| {
        JwtVerifier::builder(ISSUER).keys(issuer_keys()).scope_claim(name).build().unwrap()
    };
    // A list of roles is not split, as a role may contain a space.
    for (value, of_scp, of_roles) in [
        (json!(["read", "write"]), "read write", "read write"),
        (json!("read write"), "read write", ""),
        (json!("read"), "read", "read"),
        (json!(["read write"]), "read write", ""),
        (json!(["read write", "x"]), "x", "x"),
        (json!([7]), "", ""),
        (json!(7), "", ""),
        (Value::Null, "", ""),
    ] {
        for (name, scope) in [("scp", of_scp), ("roles", of_roles)] {
            let active = accepts(&named(name), &with_claim(name, value.clone()));
            assert_eq!(active.claims().scope().as_str(), scope, "{name} {value}");
        }
    }
}

/// Some issuers send both with different values.
#[test]
fn only_the_configured_scope_claim_counts() {
    let scp = JwtVerifier::builder(ISSUER).keys(issuer_keys()).scope_claim("scp").build().unwrap();
    let key = key(Algorithm::ES256);
    let both = |scope: Value, scp: Value| {
        let claims = with(with(claims_of_alice(), "scope", scope), "scp", scp);
        key.sign(&header_of(&key), &claims).unwrap()
    };
    for (scope, named_scp, by_default, by_scp) in [
        (json!("read"), json!("admin"), "read", "admin"),
        (json!("read"), json!(["admin"]), "read", "admin"),
        (json!(["read"]), json!("admin"), "read", "admin"),
        (json!("read"), json!(""), "read", ""),
        (json!("read"), json!({}), "read", ""),
        (json!(""), json!(["admin", "admin"]), "", "admin admin"),
    ] {
        let token = both(scope, named_scp);
        assert_eq!(accepts(&verifier(), &token).claims().scope().as_str(), by_default);
        assert_eq!(accepts(&scp, &token).claims().scope().as_str(), by_scp);
    }
}

/// The fact holds the start of the verification and the configured issuer.
#[test]
fn fact_has_the_configured_issuer() {
    let active = accepts(&verifier(), &good(&key(Algorithm::ES256)));
    assert_eq!(active.issuer(), ISSUER);
    assert_eq!(active.method(), tower_introspect::verify::Method::Jwt);
    assert_eq!(active.claims().subject(), Some("alice"));
}
