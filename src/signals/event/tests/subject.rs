use super::*;

fn read(text: &str) -> Result<Subject, NotASubject> {
    let value: Box<RawValue> = serde_json::from_str(text).expect("JSON");
    Subject::read(&value)
}

fn simple(text: &str) -> SubjectId {
    match read(text) {
        Ok(Subject::Simple(mut ids)) if ids.len() == 1 => ids.remove(0),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn rfc9493_3_2_every_format_is_read_with_its_members() {
    for (text, format, members) in [
        (r#"{"format":"account","uri":"acct:a@b"}"#, "account", &[("uri", "acct:a@b")][..]),
        (r#"{"format":"email","email":"a@b"}"#, "email", &[("email", "a@b")]),
        (r#"{"format":"iss_sub","iss":"i","sub":"s"}"#, "iss_sub", &[("iss", "i"), ("sub", "s")]),
        (r#"{"format":"opaque","id":"\u0061"}"#, "opaque", &[("id", "a")]),
        (
            r#"{"format":"phone_number","phone_number":"+1"}"#,
            "phone_number",
            &[("phone_number", "+1")],
        ),
        (r#"{"format":"did","url":"did:x"}"#, "did", &[("url", "did:x")]),
        (r#"{"format":"uri","uri":"urn:x"}"#, "uri", &[("uri", "urn:x")]),
        (r#"{"format":"jwt_id","iss":"i","jti":"j"}"#, "jwt_id", &[("iss", "i"), ("jti", "j")]),
        (
            r#"{"format":"saml_assertion_id","issuer":"i","assertion_id":"a"}"#,
            "saml_assertion_id",
            &[("issuer", "i"), ("assertion_id", "a")],
        ),
        (r#"{"format":"ip-addresses","ip-addresses":["::1"]}"#, "ip-addresses", &[]),
        (r#"{"format":"catalog","n":1,"id":"c"}"#, "catalog", &[("id", "c")]),
    ] {
        let id = simple(text);
        assert_eq!(id.format(), format);
        for (name, value) in members {
            assert_eq!(id.member(name), Some(*value), "{text}");
        }
        assert_eq!(id.member("n"), None);
        assert_eq!(id.member("format"), Some(format));
    }
}

#[test]
fn rfc9493_3_identifier_without_a_required_member_is_refused() {
    for text in [
        r"{}",
        r"[]",
        r#""alice""#,
        r"null",
        r#"{"format":"account"}"#,
        r#"{"format":"email","email":""}"#,
        r#"{"format":"email","email":["a@b"]}"#,
        r#"{"format":"iss_sub","iss":"i"}"#,
        r#"{"format":"iss_sub","sub":"s"}"#,
        r#"{"format":"jwt_id","iss":"i"}"#,
        r#"{"format":"opaque","sub":"s"}"#,
        r#"{"format":7,"user":{"format":"opaque","id":"a"}}"#,
        r#"{"format":null}"#,
        r#"{"iss":"i","sub":"s"}"#,
    ] {
        assert_eq!(read(text), Err(NotASubject), "{text}");
    }
}

#[test]
fn rfc9493_3_2_8_aliases_are_some_and_not_nested() {
    let aliases = |inner: &str| read(&format!(r#"{{"format":"aliases","identifiers":[{inner}]}}"#));
    let alias = r#"{"format":"opaque","id":"a"}"#;
    let many = |count: usize| vec![alias; count].join(",");
    assert!(matches!(aliases(&many(MAX_ALIASES)), Ok(Subject::Simple(ids)) if ids.len() == 16));
    for inner in [
        "",
        "7",
        &many(MAX_ALIASES + 1),
        r#"{"format":"aliases","identifiers":[{"format":"opaque","id":"a"}]}"#,
        r#"{"format":"complex","user":{"format":"opaque","id":"a"}}"#,
        r#"{"user":{"format":"opaque","id":"a"}}"#,
    ] {
        assert_eq!(aliases(inner), Err(NotASubject), "{inner}");
    }
    assert_eq!(read(r#"{"format":"aliases","identifiers":{}}"#), Err(NotASubject));
}

#[test]
fn ssf_3_3_complex_subject_is_read_with_and_without_format() {
    let user = r#""user":{"format":"iss_sub","iss":"i","sub":"s"}"#;
    let session = r#""session":{"format":"opaque","id":"sid"}"#;
    for format in ["", r#""format":"complex","#] {
        let Ok(Subject::Complex(complex)) =
            read(&format!(r#"{{{format}{user},{session},"tenant":{{}},"badge":7}}"#))
        else {
            panic!("{format}");
        };
        assert_eq!(complex.user.expect("a user")[0].member("sub"), Some("s"));
        assert_eq!(complex.session.expect("a session")[0].member("id"), Some("sid"));
        assert_eq!(complex.others, ["tenant", "badge"]);
    }
}

#[test]
fn ssf_3_3_complex_subject_that_is_malformed_or_too_large_is_refused() {
    let many: String = (0..16).map(|n| format!(r#","m{n}":{{}}"#)).collect();
    for text in [
        r#"{"format":"complex"}"#,
        r#"{"badge":{}}"#,
        r#"{"format":"complex","user":"alice"}"#,
        r#"{"format":"complex","user":{}}"#,
        r#"{"format":"complex","device":"phone"}"#,
        r#"{"format":"complex","user":{"format":"complex","user":{"format":"opaque","id":"a"}}}"#,
        r#"{"format":"complex","session":{"user":{"format":"opaque","id":"a"}}}"#,
        &format!(r#"{{"format":"complex"{many}}}"#),
        &format!(r#"{{"format":"email","email":"a@b"{many}}}"#),
    ] {
        assert_eq!(read(text), Err(NotASubject), "{text}");
    }
}

#[test]
fn debug_form_shows_no_personal_data() {
    for text in [
        r#"{"format":"email","email":"secret"}"#,
        r#"{"format":"secret","id":"secret"}"#,
        r#"{"format":"aliases","identifiers":[{"format":"opaque","id":"secret"}]}"#,
        r#"{"user":{"format":"iss_sub","iss":"secret","sub":"secret"},"secret":{}}"#,
    ] {
        let shown = format!("{:?}", read(text).expect("a subject"));
        assert!(!shown.contains("secret"), "{shown}");
    }
    let email = simple(r#"{"format":"email","email":"a@b"}"#);
    assert_eq!(format!("{email:?}"), r#"SubjectId { format: "email", .. }"#);
}
