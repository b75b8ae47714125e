use proptest::{prelude::*, sample::select};

use super::*;

/// Identifiers of a subject at `ISSUER` or at no certain issuer, in every format.
fn identifier() -> impl Strategy<Value = Value> {
    ("[a-z]{1,4}", 0..9_usize).prop_map(|(name, format)| match format {
        0 => iss_sub(ISSUER, &name),
        1 => opaque(&name),
        2 => json!({"format": "jwt_id", "iss": ISSUER, "jti": name}),
        3 => email(&name),
        4 => json!({"format": "phone_number", "phone_number": name}),
        5 => json!({"format": "account", "uri": name}),
        6 => json!({"format": "did", "url": name}),
        7 => json!({"format": "uri", "uri": name}),
        _ => json!({"format": "proprietary", "n": 7}),
    })
}

fn identifiers() -> impl Strategy<Value = Value> {
    let aliases = proptest::collection::vec(identifier(), 1..5)
        .prop_map(|ids| json!({"format": "aliases", "identifiers": ids}));
    prop_oneof![identifier(), aliases]
}

fn subject() -> impl Strategy<Value = Value> {
    let others = proptest::sample::subsequence(vec!["device", "tenant", "group", "x"], 0..=4);
    let parts = (proptest::option::of(identifiers()), proptest::option::of(identifiers()), others);
    let complex = parts.prop_map(|(user, session, others)| {
        let mut subject = json!({"format": "complex"});
        for (name, value) in [("user", user), ("session", session)] {
            if let Some(value) = value {
                subject[name] = value;
            }
        }
        for name in others {
            subject[name] = opaque("x");
        }
        if subject.as_object().expect("an object").len() == 1 {
            subject["device"] = opaque("x");
        }
        subject
    });
    prop_oneof![identifiers(), complex]
}

proptest! {
    #[test]
    fn no_revocation_of_a_trusted_issuer_is_without_effect(
        event in select([&[SESSION_REVOKED][..], &OF_USER].concat()),
        subject in subject(),
        cut_by_subject: bool,
        has_map: bool,
        issuers in 1..80_usize,
    ) {
        let mut rules = if has_map { mapping_rules() } else { rules() };
        rules.cut_by_subject = cut_by_subject;
        rules.issuers.extend((1..issuers).map(|n| format!("https://{n}.example.com")));
        let mapped = map(event, &subject, &rules);
        prop_assert!(!mapped.effects.is_empty(), "{event} {subject}");
        prop_assert!(mapped.effects.len() <= MAX_EFFECTS + 2 * issuers);
        prop_assert_eq!(mapped.counts.foreign_issuer + mapped.counts.critical_member, 0);
        // Where nothing is revoked, everything is asked anew.
        if !mapped.effects.iter().any(|effect| matches!(effect, CutoffChange::Revoke(_))) {
            prop_assert_eq!(mapped.effects.len(), issuers);
            prop_assert_eq!(mapped.counts.unmapped_subject, 1);
        }
    }

    #[test]
    fn events_that_ask_anew_never_revoke(event in select(&ASK[..]), subject in subject()) {
        let mapped = map(event, &subject, &rules());
        prop_assert!(!mapped.effects.is_empty());
        prop_assert!(mapped.effects.iter().all(|effect| matches!(effect, CutoffChange::Outdate(_))));
    }
}
