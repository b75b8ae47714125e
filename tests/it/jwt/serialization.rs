use super::*;

/// J1
#[test]
fn rfc7515_7_1_token_has_exactly_two_periods() {
    let verifier = verifier();
    let good = good(&key(Algorithm::ES256));
    accepts(&verifier, &good);
    let parts: Vec<_> = good.split('.').collect();
    for token in [
        parts[0].to_owned(),
        parts[..2].join("."),
        format!("{good}.{}", parts[2]),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.a.b.c"),
    ] {
        refuses(&verifier, &token, ErrorKind::MalformedToken);
    }
    for token in ["..", "e30..", ".e30.", "..e30"] {
        refuses(&verifier, token, ErrorKind::MalformedToken);
    }
}

/// J2: of the invalid characters only `=` is allowed in a b64token. The unit tests of the parser
/// have the others.
#[test]
fn rfc7515_2_signed_padding_and_standard_base64_are_refused() {
    let verifier = verifier();
    let key = key(Algorithm::ES256);
    let text = json!({"alg": "ES256", "typ": "JWT", "kid": "p256", "x": "1"}).to_string();
    let mut claims = claims_of_alice().to_string();
    while claims.len().is_multiple_of(3) {
        claims.push(' ');
    }
    let padded = base64::engine::general_purpose::URL_SAFE.encode(&claims);
    assert!(padded.ends_with('='));
    // A `=` in the middle is not a b64token, so only one at the end is tested.
    assert!(Token::bearer(&sign_parts(&key, &encode(&text), &padded)).is_none());
    refuses(&verifier, &format!("{}=", good(&key)), ErrorKind::MalformedToken);
    refuses(&verifier, &format!("{}==", good(&key)), ErrorKind::MalformedToken);

    let odd = with(claims_of_alice(), "x", "\u{7ff}??>>~~\u{7ff}").to_string();
    let other = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&odd);
    assert!(other.contains(['+', '/']));
    accepts(&verifier, &sign_text(&key, &text, &odd));
    refuses(&verifier, &sign_parts(&key, &encode(&text), &other), ErrorKind::MalformedToken);
}

/// J3
#[test]
fn rfc4648_3_5_stray_bits_in_the_last_character_are_refused() {
    let verifier = verifier();
    // 64 bytes of signature leave four bits unused, 256 leave four, and so on.
    for algorithm in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA] {
        let token = good(&key(algorithm));
        let (rest, last) = token.split_at(token.len() - 1);
        const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let at = ALPHABET.find(last).unwrap();
        assert_eq!(at % 16, 0);
        for stray in 1..16 {
            let other = &ALPHABET[at + stray..=at + stray];
            refuses(&verifier, &format!("{rest}{other}"), ErrorKind::MalformedToken);
        }
    }
}

/// J28
#[test]
fn rfc7519_5_2_a_nested_jwt_is_refused() {
    for cty in ["JWT", "jwt", "application/jwt"] {
        refuses(&verifier(), &with_header("cty", cty), ErrorKind::UnsupportedToken);
    }
    accepts(&verifier(), &with_header("cty", "json"));
}

/// J29: five parts are refused before anything is decoded, so `p2c` and `zip` cost nothing.
#[test]
fn rfc7519_7_2_encrypted_token_is_refused_before_decoding() {
    let header = json!({
        "alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2_147_483_647_u32, "zip": "DEF",
        "typ": "at+jwt",
    });
    let jwe = format!("{}.e30.e30.e30.e30", encode(header.to_string()));
    refuses(&verifier(), &jwe, ErrorKind::UnsupportedToken);
    refuses(&verifier(), "a.b.c.d.e", ErrorKind::UnsupportedToken);
}

/// J30
#[test]
fn rfc7519_3_json_serialization_is_refused() {
    let good = good(&key(Algorithm::ES256));
    let parts: Vec<_> = good.split('.').collect();
    let json = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]});
    assert!(Token::bearer(&json.to_string()).is_none());
    refuses(&verifier(), &encode(json.to_string()), ErrorKind::MalformedToken);
}

/// J31
#[test]
fn rfc7515_5_2_signature_is_verified_over_the_received_text() {
    let key = key(Algorithm::EdDSA);
    let header = " {\r\n\t\"kid\" : \"ed25519\",\n \"typ\":\"at\\u002bjwt\", \"alg\":\"EdDSA\" } ";
    let claims = format!(
        "\n{{ \"iss\" : \"{}\" , \"aud\":[ \"{AUDIENCE}\" ], \"exp\" : 4.1024448e9 }}\n",
        ISSUER.replace('/', "\\u002f")
    );
    let active = accepts(&verifier(), &sign_text(&key, header, claims));
    assert_eq!(active.claims().issuer(), Some(ISSUER));
}

#[test]
fn oversized_token_is_refused_before_decoding() {
    let long = with_claim("x", "x".repeat(64 * 1024));
    refuses(&verifier(), &long, ErrorKind::TokenTooLong);
    accepts(&verifier(), &with_claim("x", "x".repeat(8 * 1024)));
}
