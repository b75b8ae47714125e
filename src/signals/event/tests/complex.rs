//! Complex subjects.

use super::*;
use crate::{
    claims::claims_set::Claims,
    clock::{Moment, tests::FixedClock},
    revocation::{cutoff::Standing, revocations::Revocations},
    verify::active::{ActiveToken, Method},
};

#[test]
fn e10_event_with_a_critical_member_that_cannot_be_processed_is_discarded() {
    let critical = |names: &[&str]| SubjectRules {
        critical: names.iter().map(|name| (*name).to_owned()).collect(),
        ..rules()
    };
    let user = iss_sub(ISSUER, "alice");
    let discarded = Counts { critical_member: 1, ..Counts::default() };
    for (name, value) in [("device", opaque("d")), ("tenant", opaque("t")), ("badge", json!(7))] {
        let subject = json!({"format": "complex", "user": user, name: value});
        let mapped = map(SESSION_REVOKED, &subject, &critical(&["user", name]));
        assert_effects(&mapped, &[]);
        assert_eq!(mapped.counts, discarded, "{name}");
        let mapped = map(SESSION_REVOKED, &subject, &critical(&["user", "session", "group"]));
        assert_effects(&mapped, &[revoke(alice())]);
    }
    // The members of a simple subject are none of a complex one.
    let mapped = map(SESSION_REVOKED, &opaque("s1"), &critical(&["id", "format"]));
    assert_eq!(mapped.counts, Counts::default());
}

#[test]
fn e11_complex_subject_is_cut_where_all_members_can_match() {
    let user = iss_sub(ISSUER, "alice");
    let of_alice = || session().of_subject("alice");
    // The members, the cutoff of an event about a session, and of one about a user.
    for (members, of_session, of_user) in [
        (json!({"user": user}), alice(), alice()),
        (json!({"user": user, "device": opaque("d")}), alice(), alice()),
        (json!({"user": user, "session": opaque("s1")}), of_alice(), alice()),
        (json!({"user": user, "session": iss_sub(ISSUER, "s1")}), of_alice(), alice()),
        (json!({"user": user, "session": opaque("s1"), "tenant": {}}), of_alice(), alice()),
        (json!({"user": user, "session": email("x@y")}), alice(), alice()),
        (json!({"user": user, "session": iss_sub(FOREIGN, "s1")}), alice(), alice()),
        (json!({"user": email("alice@example.com"), "session": opaque("s1")}), of_alice(), alice()),
        (json!({"session": opaque("s1")}), session(), whole()),
        (json!({"session": opaque("s1"), "device": opaque("d")}), session(), whole()),
        (json!({"session": email("x@y")}), whole(), whole()),
        (json!({"device": opaque("d")}), whole(), whole()),
        (json!({"tenant": opaque("t"), "group": {}, "application": {}}), whole(), whole()),
    ] {
        let mut subject = members.clone();
        subject["format"] = json!("complex");
        for subject in [&members, &subject] {
            let rules = mapping_rules();
            assert_effects(&map(SESSION_REVOKED, subject, &rules), &[revoke(of_session.clone())]);
            for event in OF_USER {
                assert_effects(&map(event, subject, &rules), &[revoke(of_user.clone())]);
            }
            for event in ASK {
                let expected = [CutoffChange::Outdate(of_session.clone())];
                assert_effects(&map(event, subject, &rules), &expected);
            }
        }
    }
}

#[test]
fn e11_session_without_a_certain_user_is_not_one_of_that_user() {
    // Many sessions of one subject become one cutoff for its `sub`.
    for user in [opaque("internal-7"), email("bob@example.com"), iss_sub(SECOND, "alice")] {
        let rules = SubjectRules { issuers: vec![ISSUER.into(), SECOND.into()], ..mapping_rules() };
        let subject = json!({"user": user, "session": iss_sub(ISSUER, "s1")});
        assert_effects(&map(SESSION_REVOKED, &subject, &rules), &[revoke(session())]);
    }
}

#[test]
fn e11_cut_by_subject_cuts_the_user_of_a_session() {
    let rules = SubjectRules { cut_by_subject: true, ..mapping_rules() };
    let with = |user: Value| json!({"user": user, "session": opaque("s1")});
    let by_name = with(iss_sub(ISSUER, "alice"));
    assert_effects(&map(SESSION_REVOKED, &by_name, &rules), &[revoke(alice())]);
    let by_email = with(email("alice@example.com"));
    assert_effects(&map(ASK[0], &by_email, &rules), &[CutoffChange::Outdate(alice())]);
    let internal = Cutoff::subject(ISSUER, "internal-7");
    let mapped = map(SESSION_REVOKED, &with(opaque("internal-7")), &rules);
    assert_effects(&mapped, &[revoke(internal), revoke(session())]);
    let mapped = map(SESSION_REVOKED, &with(email("bob@example.com")), &rules);
    assert_effects(&mapped, &[CutoffChange::Outdate(whole()), revoke(session())]);
    assert_eq!(mapped.counts, unmapped());
    let alone = json!({"session": opaque("s1")});
    assert_effects(&map(SESSION_REVOKED, &alone, &rules), &[revoke(session())]);
}

#[test]
fn e11_tokens_issued_before_the_event_are_refused_and_later_ones_are_not() {
    let revocations = Revocations::new().clock(FixedClock(1_780_000_010));
    let subject = json!({"user": iss_sub(ISSUER, "alice"), "session": opaque("s1")});
    for effect in map(SESSION_REVOKED, &subject, &rules()).effects {
        let CutoffChange::Revoke(cutoff) = effect else { panic!("{effect:?}") };
        revocations.revoke(&cutoff);
    }
    for (claims, standing) in [
        (r#"{"sub":"alice","sid":"s1","iat":1780000000}"#, Standing::Revoked),
        (r#"{"sub":"alice","sid":"s1","iat":1780000001}"#, Standing::Stands),
        (r#"{"sub":"alice","sid":"s2","iat":1}"#, Standing::Stands),
        (r#"{"sub":"bob","sid":"s3","iat":1}"#, Standing::Stands),
    ] {
        let facts = Claims::from_json(claims.as_bytes()).expect("claims");
        let fact =
            ActiveToken::new(ISSUER, facts, Method::Jwt, Moment::now(&FixedClock(1_780_000_010)));
        assert_eq!(revocations.check(&fact), standing, "{claims}");
    }
}
