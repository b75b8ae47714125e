use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

mod complex;
mod properties;

const ISSUER: &str = "https://as.example.com";
const SECOND: &str = "https://as2.example.com";
const FOREIGN: &str = "https://foreign.example.com";
const BASE: &str = "https://schemas.openid.net/secevent/";

const SESSION_REVOKED: &str = "caep/event-type/session-revoked";
/// The events that concern a user, never only a session.
const OF_USER: [&str; 5] = [
    "caep/event-type/credential-change",
    "risc/event-type/account-disabled",
    "risc/event-type/account-purged",
    "risc/event-type/sessions-revoked",
    "risc/event-type/credential-compromise",
];
const ASK: [&str; 3] = [
    "caep/event-type/token-claims-change",
    "caep/event-type/assurance-level-change",
    "caep/event-type/device-compliance-change",
];

const TIME: UnixTime = UnixTime::from_secs(1_780_000_000);

fn rules() -> SubjectRules {
    SubjectRules {
        issuers: vec![ISSUER.to_owned()],
        map: None,
        critical: Vec::new(),
        cut_by_subject: false,
    }
}

/// Rules with a map that knows one address.
fn mapping_rules() -> SubjectRules {
    let sub = |email: &str| (email == "alice@example.com").then(|| "alice".to_owned());
    SubjectRules { map: Some(Arc::new(move |id| sub(id.member("email")?))), ..rules() }
}

fn set(event: &str, sub_id: &Value) -> SecurityEvents {
    let claims = json!({
        "iss": "https://transmitter.example.com", "jti": "1", "iat": 1_780_000_000, "aud": "receiver",
        "sub_id": sub_id, "events": {format!("{BASE}{event}"): {"event_timestamp": 1_780_000_000}},
    });
    let text = serde_json::to_vec(&claims).expect("JSON");
    SecurityEvents::read(&text).unwrap_or_else(|error| panic!("{}", error.description()))
}

fn map(event: &str, sub_id: &Value, rules: &SubjectRules) -> Mapped {
    effects(&set(event, sub_id), rules)
}

fn revoke(cutoff: Cutoff) -> CutoffChange {
    CutoffChange::Revoke(cutoff.at(TIME))
}

#[track_caller]
fn assert_effects(mapped: &Mapped, expected: &[CutoffChange]) {
    assert_eq!(format!("{:?}", mapped.effects), format!("{expected:?}"));
}

fn iss_sub(issuer: &str, subject: &str) -> Value {
    json!({"format": "iss_sub", "iss": issuer, "sub": subject})
}

fn opaque(name: &str) -> Value {
    json!({"format": "opaque", "id": name})
}

fn email(address: &str) -> Value {
    json!({"format": "email", "email": address})
}

fn alice() -> Cutoff {
    Cutoff::subject(ISSUER, "alice")
}

fn session() -> Cutoff {
    Cutoff::session(ISSUER, "s1")
}

fn whole() -> Cutoff {
    Cutoff::issuer(ISSUER)
}

fn unmapped() -> Counts {
    Counts { unmapped_subject: 1, ..Counts::default() }
}

fn foreign() -> Counts {
    Counts { foreign_issuer: 1, ..Counts::default() }
}

#[test]
fn every_event_type_has_its_effect_for_every_simple_subject() {
    let jwt_id = json!({"format": "jwt_id", "iss": ISSUER, "jti": "t1"});
    let aliases =
        json!({"format": "aliases", "identifiers": [iss_sub(ISSUER, "alice"), email("x")]});
    // The subject, the cutoffs of an event about a session, and of one about a user.
    let table: [(Value, Vec<Cutoff>, Vec<Cutoff>); 5] = [
        (iss_sub(ISSUER, "alice"), vec![alice()], vec![alice()]),
        (
            opaque("s1"),
            vec![Cutoff::subject(ISSUER, "s1"), session()],
            vec![Cutoff::subject(ISSUER, "s1"), session()],
        ),
        (jwt_id, vec![Cutoff::token(ISSUER, "t1")], vec![whole()]),
        (email("alice@example.com"), vec![alice()], vec![alice()]),
        (aliases, vec![alice()], vec![alice()]),
    ];
    for (subject, of_session, of_user) in table {
        let rules = mapping_rules();
        let all = |cutoffs: &[Cutoff], effect: fn(Cutoff) -> CutoffChange| -> Vec<_> {
            cutoffs.iter().cloned().map(effect).collect()
        };
        let revoked = map(SESSION_REVOKED, &subject, &rules);
        assert_effects(&revoked, &all(&of_session, revoke));
        for event in OF_USER {
            assert_effects(&map(event, &subject, &rules), &all(&of_user, revoke));
        }
        for event in ASK {
            let mapped = map(event, &subject, &rules);
            assert_effects(&mapped, &all(&of_session, CutoffChange::Outdate));
            assert_eq!(mapped.counts, Counts::default());
        }
    }
}

#[test]
fn e9_unknown_event_types_have_no_effect() {
    for event in ["caep/event-type/session-established", "risc/event-type/account-enabled", "x"] {
        let mapped = map(event, &iss_sub(ISSUER, "alice"), &rules());
        assert_effects(&mapped, &[]);
        assert_eq!(mapped.counts, Counts::default());
    }
}

#[test]
fn e9_unknown_user_has_everything_asked_anew() {
    let phone = json!({"format": "phone_number", "phone_number": "+1"});
    let proprietary = json!({"format": "catalog", "id": "x"});
    for rules in [rules(), mapping_rules()] {
        for subject in [email("bob@example.com"), phone.clone(), proprietary.clone()] {
            for event in [SESSION_REVOKED].iter().chain(&OF_USER).chain(&ASK) {
                for subject in [subject.clone(), json!({"format": "complex", "user": subject})] {
                    let mapped = map(event, &subject, &rules);
                    assert_effects(&mapped, &[CutoffChange::Outdate(whole())]);
                    assert_eq!(mapped.counts, unmapped(), "{event} {subject}");
                }
            }
        }
    }
}

#[test]
fn transmitter_speaks_only_for_its_issuers() {
    let jwt_id = json!({"format": "jwt_id", "iss": FOREIGN, "jti": "t1"});
    let user = iss_sub(FOREIGN, "alice");
    for subject in [
        user.clone(),
        iss_sub("https://as.example.com/", "alice"),
        jwt_id,
        json!({"format": "aliases", "identifiers": [user, iss_sub(FOREIGN, "bob")]}),
        json!({"format": "complex", "user": user}),
        json!({"format": "complex", "user": user, "session": opaque("s1"), "device": {}}),
        json!({"format": "complex", "session": iss_sub(FOREIGN, "s1"), "device": {}}),
    ] {
        for event in [SESSION_REVOKED].iter().chain(&OF_USER).chain(&ASK) {
            let mapped = map(event, &subject, &mapping_rules());
            assert_effects(&mapped, &[]);
            assert_eq!(mapped.counts, foreign(), "{event} {subject}");
        }
    }
}

#[test]
fn e12_formats_of_the_interoperability_profile_lead_to_cutoffs() {
    for (subject, cutoffs) in [
        (email("alice@example.com"), vec![alice()]),
        (iss_sub(ISSUER, "alice"), vec![alice()]),
        (opaque("s1"), vec![Cutoff::subject(ISSUER, "s1"), session()]),
    ] {
        let expected: Vec<_> = cutoffs.into_iter().map(revoke).collect();
        assert_effects(&map(SESSION_REVOKED, &subject, &mapping_rules()), &expected);
    }
}

#[test]
fn opaque_and_mapped_names_count_at_every_issuer() {
    let rules = SubjectRules { issuers: vec![ISSUER.into(), SECOND.into()], ..mapping_rules() };
    let expected = [
        revoke(Cutoff::subject(ISSUER, "s1")),
        revoke(Cutoff::subject(SECOND, "s1")),
        revoke(Cutoff::session(ISSUER, "s1")),
        revoke(Cutoff::session(SECOND, "s1")),
    ];
    assert_effects(&map(SESSION_REVOKED, &opaque("s1"), &rules), &expected);
    let expected = [revoke(alice()), revoke(Cutoff::subject(SECOND, "alice"))];
    assert_effects(&map(SESSION_REVOKED, &email("alice@example.com"), &rules), &expected);
    // A session is at the issuer of its user.
    let subject = json!({"user": iss_sub(SECOND, "alice"), "session": opaque("s1")});
    let expected = [revoke(Cutoff::session(SECOND, "s1").of_subject("alice"))];
    assert_effects(&map(SESSION_REVOKED, &subject, &rules), &expected);
}

#[test]
fn alias_that_is_certain_spares_the_facts_of_everyone_else() {
    let aliases = |ids: &[Value]| json!({"format": "aliases", "identifiers": ids});
    let mapped = map(
        SESSION_REVOKED,
        &aliases(&[iss_sub(FOREIGN, "a"), email("bob@example.com"), iss_sub(ISSUER, "alice")]),
        &rules(),
    );
    assert_effects(&mapped, &[revoke(alice())]);
    assert_eq!(mapped.counts, Counts::default());
    let mapped = map(SESSION_REVOKED, &aliases(&[opaque("s1"), email("x@y")]), &rules());
    let name = Cutoff::subject(ISSUER, "s1");
    assert_effects(&mapped, &[CutoffChange::Outdate(whole()), revoke(name), revoke(session())]);
    assert_eq!(mapped.counts, unmapped());
}

#[test]
fn map_may_name_the_user_of_an_opaque_identifier() {
    let map_opaque = SubjectRules {
        map: Some(Arc::new(|id| id.member("id").map(|id| format!("user-{id}")))),
        ..rules()
    };
    let mapped = map(OF_USER[0], &opaque("7"), &map_opaque);
    let subject = |name: &str| revoke(Cutoff::subject(ISSUER, name));
    let expected = [subject("7"), subject("user-7"), revoke(Cutoff::session(ISSUER, "7"))];
    assert_effects(&mapped, &expected);
}

#[test]
fn identifier_that_makes_the_map_panic_counts_as_unknown() {
    let panicking =
        SubjectRules { map: Some(Arc::new(|_| panic!("a fault of the application"))), ..rules() };
    let mapped = map(SESSION_REVOKED, &email("a@b"), &panicking);
    assert_effects(&mapped, &[CutoffChange::Outdate(whole())]);
    assert_eq!(mapped.counts, unmapped());
}

#[test]
fn too_many_effects_become_one_for_each_issuer() {
    let issuers: Vec<String> = (0..40).map(|n| format!("https://{n}.example.com")).collect();
    let many = SubjectRules { issuers: issuers.clone(), ..rules() };
    let expected: Vec<_> = issuers.iter().map(Cutoff::issuer).map(revoke).collect();
    assert_effects(&map(SESSION_REVOKED, &opaque("s1"), &many), &expected);
    let ask: Vec<_> = issuers.iter().map(Cutoff::issuer).map(CutoffChange::Outdate).collect();
    assert_effects(&map(ASK[0], &opaque("s1"), &many), &ask);
}

#[test]
fn debug_form_of_the_rules_has_no_function() {
    let shown = format!("{:?}", mapping_rules());
    assert!(shown.contains("map: true"), "{shown}");
}
