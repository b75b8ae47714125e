use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use super::{
    tests::{Hand, ISSUER, OTHER, fact, revocations, standing_of},
    *,
};
use crate::{clock::tests::FixedClock, verify::active::Method};

#[test]
fn too_many_cutoffs_of_an_issuer_become_one_for_its_tokens() {
    let revocations = revocations(10);
    let name = |n: usize| format!("user-{n}");
    let old = |n| fact(ISSUER, Method::Jwt, &format!("{{\"sub\":\"{}\",\"iat\":1}}", name(n)));
    for n in 0..100 {
        revocations.revoke(&Cutoff::subject(ISSUER, name(n)));
        assert!(revocations.len() <= 11, "{}", revocations.len());
        for earlier in 0..=n {
            assert_eq!(revocations.check(&old(earlier)), Standing::Revoked, "{earlier} of {n}");
        }
    }
    let later = fact(ISSUER, Method::Jwt, r#"{"sub":"user-1","iat":1001}"#);
    assert_eq!(revocations.check(&later), Standing::Stands);
    let elsewhere = fact(OTHER, Method::Jwt, r#"{"iat":1}"#);
    assert_eq!(revocations.check(&elsewhere), Standing::Stands);
}

#[test]
fn many_logouts_do_not_revoke_recent_tokens_of_others() {
    let hand = Hand(Arc::default());
    let revocations = Revocations::with_capacity(100).clock(hand.clone());
    for n in 1..10_000_i64 {
        hand.0.store(n * 60, Ordering::Relaxed);
        revocations.revoke(&Cutoff::subject(ISSUER, format!("user-{n}")));
        assert!(revocations.len() <= 101);
        // Ten minutes old, with at least twenty precise cutoffs kept.
        let other = format!(r#"{{"sub":"bob","iat":{}}}"#, n * 60 - 600);
        assert_eq!(revocations.check(&fact(ISSUER, Method::Jwt, &other)), Standing::Stands, "{n}");
        for user in [n, n - 20, n - 200].into_iter().filter(|user| *user > 0) {
            let old = format!(r#"{{"sub":"user-{user}","iat":{}}}"#, user * 60 - 1);
            assert_eq!(revocations.check(&fact(ISSUER, Method::Jwt, &old)), Standing::Revoked);
        }
    }
}

/// Sets cutoffs for this many subjects of an issuer.
fn log_out(revocations: &Revocations, issuer: &str, subjects: std::ops::Range<usize>) {
    for n in subjects {
        revocations.revoke(&Cutoff::subject(issuer, format!("user-{n}")));
    }
}

#[test]
fn hundred_thousand_logouts_of_one_issuer_cut_no_token_of_another() {
    let revocations = Revocations::new().clock(FixedClock(1_000));
    log_out(&revocations, ISSUER, 0..100);
    log_out(&revocations, OTHER, 0..150_000);
    assert!(revocations.len() <= DEFAULT_CAPACITY);
    assert_eq!(standing_of(&revocations, ISSUER, "bob", 1), Standing::Stands);
    assert_eq!(standing_of(&revocations, ISSUER, "user-99", 1), Standing::Revoked);
    assert_eq!(standing_of(&revocations, ISSUER, "user-99", 1_001), Standing::Stands);
    assert_eq!(standing_of(&revocations, "https://third.example.com", "bob", 1), Standing::Stands);
    // The issuer with the many logouts is cut, but by no more than the time of its last one.
    assert_eq!(standing_of(&revocations, OTHER, "user-1", 1), Standing::Revoked);
    assert_eq!(standing_of(&revocations, OTHER, "user-149999", 1), Standing::Revoked);
    assert_eq!(standing_of(&revocations, OTHER, "bob", 1_001), Standing::Stands);
}

#[test]
fn every_issuer_keeps_an_equal_share_of_the_cutoffs() {
    let revocations = revocations(300);
    for round in 0..100 {
        // Two of three have more than their share.
        log_out(&revocations, ISSUER, round * 10..(round + 1) * 10);
        log_out(&revocations, OTHER, round * 50..(round + 1) * 50);
        log_out(&revocations, "https://third.example.com", round..(round + 1).min(98));
        assert!(revocations.len() <= 300);
    }
    assert_eq!(standing_of(&revocations, "https://third.example.com", "bob", 1), Standing::Stands);
    for n in 0..98 {
        let user = format!("user-{n}");
        let standing = standing_of(&revocations, "https://third.example.com", &user, 1);
        assert_eq!(standing, Standing::Revoked);
    }
}

#[test]
fn more_issuers_than_cutoffs_revoke_no_token_of_an_issuer_that_has_a_place() {
    let revocations = revocations(10);
    let name = |n: usize| format!("https://{n}.example.com");
    revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
    for n in 0..100 {
        revocations.revoke(&Cutoff::subject(name(n), "alice"));
        assert!(revocations.len() <= 11);
        for earlier in 0..=n {
            let standing = standing_of(&revocations, &name(earlier), "alice", 1);
            assert_eq!(standing, Standing::Revoked, "{earlier} of {n}");
        }
        assert_eq!(standing_of(&revocations, &name(n), "alice", 1_001), Standing::Stands);
    }
    assert_eq!(standing_of(&revocations, ISSUER, "alice", 1), Standing::Revoked);
    assert_eq!(standing_of(&revocations, ISSUER, "alice", 1_001), Standing::Stands);
}

#[test]
fn revoked_tokens_stay_revoked_when_their_cutoffs_are_replaced() {
    let revocations = revocations(40);
    // By a clock that is ahead.
    let token = |n: i64| format!(r#"{{"jti":"{n}","sub":"alice","iat":{}}}"#, 1_000 + n);
    for n in 0..300 {
        let cutoff = Cutoff::token(ISSUER, n.to_string());
        revocations.revoke(&if n % 2 == 0 { cutoff } else { cutoff.of_subject("alice") });
        for earlier in 0..=n {
            let standing = revocations.check(&fact(ISSUER, Method::Jwt, &token(earlier)));
            assert_eq!(standing, Standing::Revoked, "{earlier} of {n}");
        }
    }
}

#[test]
fn more_than_sixteen_sessions_of_a_subject_become_one_cutoff_of_the_subject() {
    let revocations = revocations(100);
    let session = |n: usize| Cutoff::session(ISSUER, n.to_string()).of_subject("alice");
    let token = |subject: &str, session: &str| {
        let claims = format!(r#"{{"sub":"{subject}","sid":"{session}","iat":1}}"#);
        revocations.check(&fact(ISSUER, Method::Jwt, &claims))
    };
    for n in 0..16 {
        revocations.revoke(&session(n));
        revocations.revoke(&session(n));
    }
    assert_eq!(revocations.len(), 16);
    assert_eq!(token("alice", "elsewhere"), Standing::Stands);
    revocations.revoke(&session(16));
    assert_eq!(revocations.len(), 1);
    assert_eq!(token("alice", "elsewhere"), Standing::Revoked);
    assert_eq!(token("bob", "elsewhere"), Standing::Stands);
    let renewed = r#"{"sub":"alice","sid":"new","iat":1001}"#;
    assert_eq!(revocations.check(&fact(ISSUER, Method::Jwt, renewed)), Standing::Stands);
    // Then sessions are told apart again.
    for n in 17..30 {
        revocations.revoke(&session(n));
    }
    assert_eq!(revocations.len(), 14);
    let elsewhere = Cutoff::session(OTHER, "0").of_subject("alice");
    revocations.revoke(&elsewhere);
    assert_eq!(standing_of(&revocations, OTHER, "alice", 1), Standing::Stands);
}

#[test]
fn logouts_of_one_account_three_a_second_for_an_hour_cut_only_its_tokens() {
    let hand = Hand(Arc::new(AtomicI64::new(10_000)));
    let revocations = Revocations::with_capacity(100).clock(hand.clone());
    revocations.revoke(&Cutoff::subject(ISSUER, "carol"));
    for n in 0..10_800_i64 {
        hand.0.store(10_000 + n / 3, Ordering::Relaxed);
        let session = Cutoff::session(ISSUER, n.to_string()).of_subject("mallory");
        revocations.revoke(&session);
        let token = Cutoff::token(ISSUER, n.to_string()).of_subject("mallory");
        revocations.revoke(&token);
        let of_account = Cutoff::subject(ISSUER, "mallory");
        revocations.revoke(&of_account);
        assert!(revocations.len() < 20, "{n}");
    }
    for iat in [1, 9_999, 13_000] {
        assert_eq!(standing_of(&revocations, ISSUER, "bob", iat), Standing::Stands);
    }
    assert_eq!(standing_of(&revocations, ISSUER, "carol", 9_999), Standing::Revoked);
    assert_eq!(standing_of(&revocations, ISSUER, "mallory", 13_599), Standing::Revoked);
}
