//! Tokens in the shapes that Keycloak 26.7 sends.

use super::*;
use crate::signals::transmitter::stream::StreamStatus;

const REALM: &str = "http://127.0.0.1:8180/realms/acme";
const AUDIENCE: &str = "ssf-receiver/4a1c09fa-6b61-4a08-9d2e-0c5d1f6e7b30";

fn received(event: &str, payload: &Value, sub_id: &Value) -> SecurityEvents {
    let claims = json!({
        "jti": "0f2f3b52-7a5c-4c0c-a3d9-2b0f7d0f3c11",
        "iss": REALM,
        "aud": AUDIENCE,
        "iat": 1_796_000_000,
        "txn": "b3f7c6de-50a1-4f2e-8f37-1b2a6f3f8c55",
        "sub_id": sub_id,
        "events": {format!("{BASE}{event}"): payload},
    });
    let set = SecurityEvents::read(&serde_json::to_vec(&claims).unwrap()).ok().unwrap();
    assert_eq!(set.check_parties(REALM, AUDIENCE), Ok(()));
    set
}

fn realm_rules() -> SubjectRules {
    SubjectRules { issuers: vec![REALM.to_owned()], ..rules() }
}

#[test]
fn keycloak_verification_has_state() {
    let stream = "4a1c09fa-6b61-4a08-9d2e-0c5d1f6e7b30";
    let set = received("ssf/event-type/verification", &json!({"state": "abc"}), &opaque(stream));
    let mapped = effects(&set, &realm_rules());
    let state = Some("abc".to_owned());
    assert_eq!(mapped.verification, Some(Verification { state }));
    assert_effects(&mapped, &[]);
    assert_eq!(mapped.counts, Counts::default());
}

#[test]
fn keycloak_stream_updated_has_status() {
    let payload = json!({"status": "paused", "reason": "maintenance"});
    let set = received("ssf/event-type/stream-updated", &payload, &opaque("stream"));
    let mapped = effects(&set, &realm_rules());
    assert_eq!(mapped.stream_updated, Some(StreamUpdate { status: Some(StreamStatus::Paused) }));
    assert_effects(&mapped, &[]);
}

#[test]
fn keycloak_credential_change_revokes_the_user() {
    let payload = json!({
        "credential_type": "password", "change_type": "update", "event_timestamp": 1_795_999_999
    });
    let set = received("caep/event-type/credential-change", &payload, &iss_sub(REALM, "u1"));
    let user = Cutoff::subject(REALM, "u1").at(UnixTime::from_secs(1_795_999_999));
    assert_effects(&effects(&set, &realm_rules()), &[Effect::Revoke(user)]);
}

#[test]
fn keycloak_session_revoked_revokes_the_session() {
    let sub_id =
        json!({"format": "complex", "user": iss_sub(REALM, "u1"), "session": opaque("s1")});
    let payload = json!({"initiating_entity": "user", "reason_user": {"en": "logout"}});
    let set = received(SESSION_REVOKED, &payload, &sub_id);
    let iat = UnixTime::from_secs(1_796_000_000);
    let session = Cutoff::session(REALM, "s1").of_subject("u1").at(iat);
    assert_effects(&effects(&set, &realm_rules()), &[Effect::Revoke(session)]);
    // For a realm whose tokens have no `sid`.
    let by_subject = SubjectRules { cut_by_subject: true, ..realm_rules() };
    let user = Cutoff::subject(REALM, "u1").at(iat);
    assert_effects(&effects(&set, &by_subject), &[Effect::Revoke(user)]);
}
