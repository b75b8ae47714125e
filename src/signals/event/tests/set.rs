use serde_json::{Value, json};

use super::*;

const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
const UPDATED: &str = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated";

/// Returns the claims of a good token with these changes. `null` removes a claim.
fn claims(changes: &Value) -> Vec<u8> {
    let mut claims = json!({
        "iss": "https://as.example.com",
        "jti": "1",
        "iat": 1_800_000_000,
        "aud": "receiver",
        "sub_id": {"format": "opaque", "id": "stream"},
        "events": {REVOKED: {}},
    });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    serde_json::to_vec(&claims).expect("a value has a text")
}

fn read(changes: &Value) -> Result<SecurityEvents, SetError> {
    SecurityEvents::read(&claims(changes))
}

fn error(changes: &Value) -> SetError {
    read(changes).err().unwrap_or_else(|| panic!("{changes}"))
}

#[test]
fn e8_exp_and_sub_are_refused() {
    for exp in [json!(1_900_000_000), json!("x"), json!(false)] {
        assert_eq!(error(&json!({"exp": exp})), SetError::Expires);
    }
    // `null` is a value, too.
    let text = String::from_utf8(claims(&json!({}))).expect("JSON is UTF-8");
    for (name, refused) in [("exp", SetError::Expires), ("sub", SetError::NamesSubject)] {
        let text = text.replacen('{', &format!("{{\"{name}\":null,"), 1);
        assert_eq!(SecurityEvents::read(text.as_bytes()).err(), Some(refused));
    }
    assert_eq!(error(&json!({"sub": "alice"})), SetError::NamesSubject);
}

#[test]
fn e8_sub_id_is_required_for_events_about_a_subject_only() {
    let missing = SetError::Claim(SetClaim::SubjectId);
    assert_eq!(error(&json!({"sub_id": null})), missing);
    assert_eq!(error(&json!({"sub_id": "alice"})), missing);
    assert_eq!(error(&json!({"sub_id": {"format": "email"}})), missing);
    let legacy = json!({REVOKED: {"subject": {"format": "email", "email": "a@b"}}});
    assert_eq!(error(&json!({"sub_id": null, "events": legacy})), missing);
    for event in [VERIFICATION, UPDATED, "urn:other"] {
        assert!(read(&json!({"sub_id": null, "events": {event: {}}})).is_ok(), "{event}");
        let malformed = json!({"sub_id": 7, "events": {event: {}}});
        assert_eq!(error(&malformed), missing, "{event}");
    }
}

#[test]
fn e7_issuer_and_audience_are_compared_exactly() {
    let parties = |changes: Value| {
        read(&changes).and_then(|set| set.check_parties("https://as.example.com", "receiver"))
    };
    assert_eq!(parties(json!({})), Ok(()));
    assert_eq!(parties(json!({"aud": ["other", "receiver"]})), Ok(()));
    assert_eq!(parties(json!({"iss": "https://as.example.com/"})), Err(SetError::Issuer));
    for aud in [json!(null), json!([]), json!("Receiver"), json!("receiver/1"), json!(["other"])] {
        assert_eq!(parties(json!({"aud": aud})), Err(SetError::Audience), "{aud}");
    }
    assert_eq!(SetError::Issuer.code(), "invalid_issuer");
    assert_eq!(SetError::Audience.code(), "invalid_audience");
}

#[test]
fn rfc8417_2_2_claims_are_required_and_typed() {
    for (changes, claim) in [
        (json!({"iss": null}), SetClaim::Issuer),
        (json!({"iss": 7}), SetClaim::Issuer),
        (json!({"iss": ""}), SetClaim::Issuer),
        (json!({"jti": null}), SetClaim::JwtId),
        (json!({"jti": {}}), SetClaim::JwtId),
        (json!({"iat": null}), SetClaim::IssuedAt),
        (json!({"iat": "1800000000"}), SetClaim::IssuedAt),
        (json!({"aud": 7}), SetClaim::Audience),
        (json!({"aud": ["receiver", 7]}), SetClaim::Audience),
        (json!({"events": null}), SetClaim::Events),
        (json!({"events": {}}), SetClaim::Events),
        (json!({"events": [REVOKED]}), SetClaim::Events),
        (json!({"events": REVOKED}), SetClaim::Events),
        (json!({"events": {REVOKED: true}}), SetClaim::Events),
        (json!({"events": {REVOKED: {}, "urn:other": []}}), SetClaim::Events),
        (json!({"events": {VERIFICATION: {"state": 7}}}), SetClaim::Events),
    ] {
        assert_eq!(error(&changes), SetError::Claim(claim), "{changes}");
        assert_eq!(SetError::Claim(claim).code(), "invalid_request");
    }
    for text in ["", "[]", "{", "{}x", r#"{"iss":"a","iss":"b"}"#, r#"{"events":{"a":{},"a":{}}}"#]
    {
        let read = SecurityEvents::read(text.as_bytes());
        assert_eq!(read.err(), Some(SetError::Malformed), "{text}");
    }
}

#[test]
fn e9_unknown_claims_events_and_members_are_ignored() {
    let set = read(&json!({
        "txn": 8675309, "toe": "x", "nonce": [], "events": {
            REVOKED: {"initiating_entity": 7, "reason_admin": {"en": "x"}, "urn:x": null},
            "https://schemas.openid.net/secevent/caep/event-type/session-established": {},
            "https://schemas.openid.net/secevent/risc/event-type/opt-in": {},
            "HTTPS://schemas.openid.net/secevent/caep/event-type/session-revoked": {},
            BACKCHANNEL: {},
        }
    }))
    .expect("a good token");
    assert_eq!(set.events.len(), 1);
}

const BACKCHANNEL: &str = "http://schemas.openid.net/event/backchannel-logout";

#[test]
fn e11_event_timestamp_is_the_time_of_the_event_if_it_is_a_time() {
    let iat = UnixTime::from_secs(1_800_000_000);
    for (timestamp, time) in [
        (json!(1_799_999_000), UnixTime::from_secs(1_799_999_000)),
        (json!(1_799_999_000.5), UnixTime::from_millis(1_799_999_000_500)),
        (json!(null), iat),
        (json!("1799999000"), iat),
        (json!({}), iat),
        (json!(0), iat),
        (json!(-1), iat),
    ] {
        let events = json!({REVOKED: {"event_timestamp": timestamp}});
        let set = read(&json!({"events": events})).expect("a good token");
        assert_eq!(set.events, [(SubjectEvent::SessionRevoked, Some(time))], "{timestamp}");
    }
}

#[test]
fn ssf_8_1_5_status_of_the_stream_is_read() {
    for (status, known) in [
        (json!("enabled"), Some(StreamStatus::Enabled)),
        (json!("paused"), Some(StreamStatus::Paused)),
        (json!("disabled"), Some(StreamStatus::Disabled)),
        (json!("Enabled"), None),
        (json!(null), None),
    ] {
        let mut event = json!({"reason": "x", "status": status});
        event.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        let set = read(&json!({"events": {UPDATED: event}})).expect("a good token");
        assert_eq!(set.stream_updated, Some(StreamUpdate { status: known }), "{status}");
    }
    let wrong = json!({"events": {UPDATED: {"status": 7}}});
    assert_eq!(error(&wrong), SetError::Claim(SetClaim::Events));
}

#[test]
fn rfc8935_2_3_descriptions_are_printable_ascii_without_quotes() {
    use SetClaim::{Audience, Events, IssuedAt, Issuer, JwtId, SubjectId};
    let claims = [Audience, Events, IssuedAt, Issuer, JwtId, SubjectId].map(SetError::Claim);
    let others = [
        SetError::Malformed,
        SetError::Expires,
        SetError::NamesSubject,
        SetError::Issuer,
        SetError::Audience,
    ];
    for error in claims.into_iter().chain(others) {
        let text = error.description();
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"'), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_payload_panics(
        bytes: Vec<u8>,
        text in r#"\{("(iss|jti|iat|aud|events|sub_id|format|user)":("a"|1|\[\]|\{\}|null),?){0,6}\}"#,
    ) {
        let _ = SecurityEvents::read(&bytes);
        let _ = SecurityEvents::read(text.as_bytes());
    }
}

#[test]
fn later_time_counts_for_events_after_which_no_token_is_good() {
    let (iat, before) = (UnixTime::from_secs(1_800_000_000), 1_799_990_000);
    for (event, has_later) in [
        ("caep/event-type/session-revoked", false),
        ("risc/event-type/sessions-revoked", false),
        ("risc/event-type/account-disabled", true),
        ("risc/event-type/account-purged", true),
        ("risc/event-type/credential-compromise", true),
    ] {
        let uri = format!("https://schemas.openid.net/secevent/{event}");
        let set =
            read(&json!({"events": {uri: {"event_timestamp": before}}})).expect("a good token");
        let expected = if has_later { iat } else { UnixTime::from_secs(before) };
        assert_eq!(set.events[0].1, Some(expected), "{event}");
    }
}

#[test]
fn time_before_this_crate_is_no_time() {
    for (iat, timestamp) in [(1, 1), (1_800_000, 1_800_000), (0, -1)] {
        let events = json!({REVOKED: {"event_timestamp": timestamp}});
        let set = read(&json!({"iat": iat, "events": events})).expect("a good token");
        assert_eq!(set.events, [(SubjectEvent::SessionRevoked, None)], "{iat} {timestamp}");
    }
}
