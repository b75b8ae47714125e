use super::*;
use crate::claims::scope::ScopeClaim;

fn exp(value: &str) -> Result<Option<UnixTime>, ClaimsError> {
    Claims::from_json(format!("{{\"exp\":{value}}}").as_bytes()).map(|claims| claims.expires_at())
}

#[test]
fn rfc7519_2_numeric_date_may_have_a_fraction_or_exponent() {
    assert_eq!(exp("1893456000"), Ok(Some(UnixTime::from_secs(1_893_456_000))));
    assert_eq!(exp("1893456000.5"), Ok(Some(UnixTime::from_millis(1_893_456_000_500))));
    assert_eq!(exp("1e10"), Ok(Some(UnixTime::from_secs(10_000_000_000))));
    assert_eq!(exp("-0.5"), Ok(Some(UnixTime::from_millis(-500))));
}

#[test]
fn rfc7519_4_1_4_numeric_date_is_a_number() {
    for value in ["\"1893456000\"", "null", "true", "[1]", "{}"] {
        assert_eq!(exp(value), Err(ClaimsError::Invalid("exp")), "{value}");
    }
}

#[test]
fn huge_dates_saturate() {
    for value in ["9223372036854775807", "18446744073709551616", "1e308", "1e999"] {
        assert_eq!(exp(value), Ok(Some(UnixTime::from_millis(i64::MAX))), "{value}");
    }
    for value in ["-9223372036854775808", "-1e308"] {
        assert_eq!(exp(value), Ok(Some(UnixTime::from_millis(i64::MIN))), "{value}");
    }
}

#[test]
fn rfc7519_4_1_3_audience_is_a_string_or_strings() {
    let aud = |value: &str| Claims::from_json(format!("{{\"aud\":{value}}}").as_bytes());
    for value in ["{}", "7", "null", "[\"A\",7]", "[[\"A\"]]"] {
        assert_eq!(aud(value).err(), Some(ClaimsError::Invalid("aud")), "{value}");
    }
    assert!(aud("[]").unwrap().audience().is_empty());
    for value in ["\"x A\"", "\"a\"", "\"AB\"", "\"A/\"", "\"\"", "[\"x\"]"] {
        assert!(!aud(value).unwrap().audience().contains("A"), "{value}");
    }
    for value in ["\"A\"", "[\"x\",\"A\"]", "\"\\u0041\""] {
        assert!(aud(value).unwrap().audience().contains("A"), "{value}");
    }
}

#[test]
fn scope_of_another_type_than_text_or_texts_grants_nothing() {
    for value in ["[\"read\",7]", "[[\"read\"]]", "[]", "7", "null", "{\"read\":true}"] {
        let text = format!("{{\"scope\":{value},\"scp\":\"admin\"}}");
        assert!(Claims::from_json(text.as_bytes()).unwrap().scope().is_empty(), "{value}");
    }
}

#[test]
fn confirmation_of_the_wrong_shape_is_refused() {
    for value in ["\"x\"", "null", "[]", "{\"jkt\":7}", "{\"x5t#S256\":[]}"] {
        let text = format!("{{\"cnf\":{value}}}");
        assert_eq!(
            Claims::from_json(text.as_bytes()).err(),
            Some(ClaimsError::Invalid("cnf")),
            "{value}"
        );
    }
    let claims = Claims::from_json(br#"{"cnf":{"unknown":"x"}}"#).unwrap();
    assert!(claims.confirmation().is_some_and(|cnf| cnf.jkt().is_none()));
}

#[test]
fn raw_values_are_returned_as_written() {
    let claims = Claims::from_json(r#" { "é" : [ 1 ] , "b":"x\"y" } "#.as_bytes()).unwrap();
    assert_eq!(claims.raw("é"), Some("[ 1 ]"));
    assert_eq!(claims.string("b").as_deref(), Some("x\"y"));
    assert_eq!(claims.get::<Vec<u8>>("é").unwrap(), Some(vec![1]));
    assert_eq!(claims.names().collect::<Vec<_>>(), ["é", "b"]);
}

#[test]
fn json_escapes_do_not_change_names_or_values() {
    let text = r#"{"\u0069ss":"https:\/\/as.example.com","s\u0075b":"\u00e9\ud83d\ude00","aud":["a\"b","c","\u0041"],
        "scop\u0065":"re\u0061d  write","a\"b\\c":1,"":2,"exp":5}"#;
    let claims = Claims::from_json(text.as_bytes()).unwrap();
    assert_eq!(claims.issuer(), Some("https://as.example.com"));
    assert_eq!(claims.subject(), Some("é😀"));
    assert_eq!(claims.audience().iter().collect::<Vec<_>>(), ["a\"b", "c", "A"]);
    assert_eq!(claims.scope().as_str(), "read write");
    let names = ["iss", "sub", "aud", "scope", "a\"b\\c", "", "exp"];
    assert_eq!(claims.names().collect::<Vec<_>>(), names);
    assert_eq!(claims.raw("iss"), Some(r#""https:\/\/as.example.com""#));
    assert_eq!(claims.string("iss").as_deref(), Some("https://as.example.com"));
    assert_eq!(
        (claims.raw("a\"b\\c"), claims.raw(""), claims.raw("exp")),
        (Some("1"), Some("2"), Some("5"))
    );
    for name in ["\\u0069ss", "a\\\"b\\\\c", "c", "b", "s", "\"", "exp\":5"] {
        assert_eq!(claims.raw(name), None, "{name}");
    }
    assert_eq!(claims.expires_at(), Some(UnixTime::from_secs(5)));
}

#[test]
fn nested_members_and_string_contents_are_not_claims() {
    let text = r#"{"a":{"b":1,"exp":7},"c":",\"iss\":\"x\"","d":["e",{"f":[]}]}"#;
    let claims = Claims::from_json(text.as_bytes()).unwrap();
    for name in ["b", "exp", "iss", "e", "f", "a\":{\"b"] {
        assert_eq!(claims.raw(name), None, "{name}");
    }
    assert_eq!((claims.expires_at(), claims.issuer()), (None, None));
    assert_eq!(claims.names().collect::<Vec<_>>(), ["a", "c", "d"]);
}

#[test]
fn rfc7519_4_names_that_differ_only_in_escapes_are_duplicates() {
    for text in [r#"{"sub":"a","s\u0075b":"b"}"#, r#"{"\u0000":1,"\u0000":2}"#, r#"{"":1,"":2}"#] {
        assert_eq!(
            Claims::from_json(text.as_bytes()).err(),
            Some(ClaimsError::Malformed),
            "{text}"
        );
    }
}

#[test]
fn long_texts_and_names_are_read_in_full() {
    let (name, value) = ("n".repeat(70_000), "v".repeat(70_000));
    let many = (0..5_000).map(|n| format!("\"m{n}\":{n},")).collect::<String>();
    for escape in ["", "\\u0061"] {
        let text = format!(
            "{{{many}\"{escape}{name}\":\"{value}\",\"sub\":\"{value}{escape}\",\"aud\":\"{value}\"}}"
        );
        let claims = Claims::from_json(text.as_bytes()).unwrap();
        let decoded = if escape.is_empty() { "" } else { "a" };
        assert_eq!(claims.string(&format!("{decoded}{name}")).as_deref(), Some(&*value));
        assert_eq!(claims.subject(), Some(&*format!("{value}{decoded}")));
        assert!(claims.audience().contains(&value));
        assert_eq!(claims.raw("m4999"), Some("4999"));
        assert_eq!(claims.names().count(), 5_003);
    }
}

#[test]
fn scope_and_audience_can_come_from_elsewhere_without_changing_the_json_text() {
    let text = r#"{"iss":"https://as","aud":["a","b"],"permissions":["read","write"]}"#;
    let claims = Claims::from_json(text.as_bytes()).unwrap();
    let named = ScopeClaim::Named("permissions");
    let with = Claims::with_scope_from(text.as_bytes(), named).unwrap();
    assert_eq!(with.scope().as_str(), "read write");
    assert_eq!(with.audience(), claims.audience());
    let with = with.with_audience("https://api");
    assert_eq!(with.audience().iter().collect::<Vec<_>>(), ["https://api"]);
    assert_eq!((with.scope().as_str(), with.issuer()), ("read write", Some("https://as")));
    assert_eq!(with.raw("aud"), Some(r#"["a","b"]"#));
    assert_eq!(claims.scope().as_str(), "");
}

#[test]
fn refresh_and_dpop_markers_follow_token_type_and_token_use() {
    let called = |text: &str| {
        let claims = Claims::from_json(text.as_bytes()).unwrap();
        (claims.declares_refresh_token(), claims.declares_dpop())
    };
    assert_eq!(called(r#"{"token_use":"refresh","token_type":"dpop"}"#), (true, true));
    assert_eq!(called(r#"{"token_use":"access","token_type":"Bearer"}"#), (false, false));
    assert_eq!(called(r#"{"token_type":"ref\u0072esh_token"}"#), (true, false));
    assert_eq!(called(r#"{"x":{"token_type":"refresh"}}"#), (false, false));
}

#[test]
fn debug_shows_no_values() {
    let claims = Claims::from_json(br#"{"sub":"alice","email":"a@example.com"}"#).unwrap();
    assert!(!format!("{claims:?}").contains("alice"));
}

#[test]
fn rfc7519_4_1_7_jti_is_a_string() {
    for value in ["7", "null", "[\"x\"]"] {
        let text = format!("{{\"jti\":{value}}}");
        let refused = Claims::from_json(text.as_bytes()).err();
        assert_eq!(refused, Some(ClaimsError::Invalid("jti")), "{value}");
    }
}

#[test]
fn first_claim_that_names_the_client_decides() {
    let client = |text: &str| {
        let claims = Claims::from_json(text.as_bytes()).unwrap();
        claims.try_client_id().map(|client| client.map(std::borrow::Cow::into_owned))
    };
    assert_eq!(client(r#"{"appid":"d","cid":"c","azp":"\u0062"}"#), Ok(Some("b".into())));
    assert_eq!(client(r#"{"azp":"b","client_id":"a"}"#), Ok(Some("a".into())));
    assert_eq!(client(r#"{"azp":7,"cid":"c"}"#), Err(ClaimsError::Invalid("azp")));
    assert_eq!(client(r#"{"cid":"c","client_id":null}"#), Err(ClaimsError::Invalid("client_id")));
    assert_eq!(client("{}"), Ok(None));
}
