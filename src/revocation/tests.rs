use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use super::*;
use crate::{
    claims::claims_set::Claims,
    clock::{Moment, UnixTime, tests::FixedClock},
    verify::active::Method,
};

pub(super) const ISSUER: &str = "https://as.example.com";
pub(super) const OTHER: &str = "https://other.example.com";

pub(super) fn revocations(capacity: usize) -> Revocations {
    Revocations::with_capacity(capacity).clock(FixedClock(1_000))
}

pub(super) fn fact(issuer: &str, method: Method, claims: &str) -> ActiveToken {
    let claims = Claims::from_json(claims.as_bytes()).unwrap();
    ActiveToken::new(issuer, claims, method, Moment::now(&FixedClock(1_000)))
}

pub(super) fn standing_of(
    revocations: &Revocations,
    issuer: &str,
    subject: &str,
    iat: i64,
) -> Standing {
    let claims = format!(r#"{{"sub":"{subject}","iat":{iat}}}"#);
    revocations.check(&fact(issuer, Method::Jwt, &claims))
}

#[test]
fn a_jwt_is_revoked_unless_it_was_issued_later() {
    let revocations = revocations(10);
    revocations.revoke(&Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(500)));
    for (claims, standing) in [
        (r#"{"sub":"alice","iat":499}"#, Standing::Revoked),
        (r#"{"sub":"alice","iat":500}"#, Standing::Revoked),
        (r#"{"sub":"alice","iat":500.5}"#, Standing::Stands),
        (r#"{"sub":"alice","iat":501}"#, Standing::Stands),
        (r#"{"sub":"alice"}"#, Standing::Revoked),
        (r#"{"sub":"bob","iat":1}"#, Standing::Stands),
        (r#"{"iat":1}"#, Standing::Stands),
    ] {
        let fact = fact(ISSUER, Method::Jwt, claims);
        assert_eq!(revocations.check(&fact), standing, "{claims}");
    }
    let elsewhere = fact(OTHER, Method::Jwt, r#"{"sub":"alice","iat":1}"#);
    assert_eq!(revocations.check(&elsewhere), Standing::Stands);
}

#[tokio::test(start_paused = true)]
async fn introspection_before_a_cutoff_is_outdated_and_after_it_stands() {
    for method in [Method::Introspection, Method::Confirmed, Method::Fallback, Method::Custom] {
        let revocations = revocations(10);
        let before = fact(ISSUER, method, r#"{"sub":"alice"}"#);
        tokio::time::advance(Duration::from_nanos(1)).await;
        revocations.revoke(&Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(1)));
        let outdated = matches!(revocations.check(&before), Standing::Outdated(_));
        assert!(outdated, "{method:?}");
        let after = fact(ISSUER, method, r#"{"sub":"alice"}"#);
        assert_eq!(revocations.check(&after), Standing::Stands, "{method:?}");
    }
}

#[test]
fn each_kind_of_cutoff_matches_its_own_claim_only() {
    type Make = fn(&'static str, &'static str) -> Cutoff;
    let kinds: [(&str, Make); 4] = [
        ("sub", |issuer, value| Cutoff::subject(issuer, value)),
        ("sid", |issuer, value| Cutoff::session(issuer, value)),
        ("client_id", |issuer, value| Cutoff::client(issuer, value)),
        ("jti", |issuer, value| Cutoff::token(issuer, value)),
    ];
    for (claim, make) in kinds {
        let revocations = revocations(10);
        revocations.revoke(&make(ISSUER, "x"));
        for (other, _) in kinds {
            let fact = fact(ISSUER, Method::Jwt, &format!("{{\"{other}\":\"x\",\"iat\":1}}"));
            let revoked = revocations.check(&fact) == Standing::Revoked;
            assert_eq!(revoked, other == claim, "{claim} against {other}");
        }
    }
    let client = revocations(10);
    client.revoke(&Cutoff::client(ISSUER, "x"));
    for claims in [
        r#"{"azp":"x","client_id":"y","iat":1}"#,
        r#"{"cid":"x","iat":1}"#,
        r#"{"iat":1,"appid":"\u0078"}"#,
    ] {
        assert_eq!(client.check(&fact(ISSUER, Method::Jwt, claims)), Standing::Revoked, "{claims}");
    }
    let all = revocations(10);
    all.revoke(&Cutoff::issuer(ISSUER));
    assert_eq!(all.check(&fact(ISSUER, Method::Jwt, r#"{"iat":1}"#)), Standing::Revoked);
    assert_eq!(all.check(&fact(OTHER, Method::Jwt, r#"{"iat":1}"#)), Standing::Stands);
}

#[test]
fn revoked_token_stays_revoked_if_the_issuers_clock_is_ahead() {
    let revocations = revocations(10);
    revocations.revoke(&Cutoff::token(ISSUER, "x"));
    let ahead = fact(ISSUER, Method::Jwt, r#"{"jti":"x","iat":1010}"#);
    assert_eq!(revocations.check(&ahead), Standing::Revoked);
}

#[test]
fn earlier_cutoff_does_not_replace_a_later_one() {
    let revocations = revocations(10);
    for at in [500, 400] {
        let cutoff = Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(at));
        revocations.revoke(&cutoff);
    }
    let token = fact(ISSUER, Method::Jwt, r#"{"sub":"alice","iat":450}"#);
    assert_eq!(revocations.check(&token), Standing::Revoked);
    assert_eq!(revocations.len(), 1);
}

/// A shared clock that tests set by hand.
#[derive(Clone, Debug)]
pub(super) struct Hand(pub(super) Arc<AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn time_in_the_future_is_cut_to_the_time_of_receipt() {
    for (at, until) in [
        (999, 999),
        (1_000, 1_000),
        (1_300, 1_300),
        (1_301, 1_000),
        (1_000_000, 1_000),
        (i64::MAX, 1_000),
        (-5, -5),
    ] {
        let revocations = revocations(10);
        revocations.revoke(&Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(at)));
        let covered = standing_of(&revocations, ISSUER, "alice", until);
        assert_eq!(covered, Standing::Revoked, "{at}");
        let later = standing_of(&revocations, ISSUER, "alice", until.saturating_add(1));
        assert_eq!(later, Standing::Stands, "{at}");
    }
    // No time makes it a cutoff that revokes nothing.
    let earliest = revocations(10);
    earliest.revoke(&Cutoff::subject(ISSUER, "alice").at(UnixTime::from_millis(i64::MIN)));
    let undated = fact(ISSUER, Method::Jwt, r#"{"sub":"alice"}"#);
    assert_eq!(earliest.check(&undated), Standing::Revoked);
    // The clock of the issuer is known to be ahead.
    let revocations = revocations(10);
    revocations.note_admitted(&fact(ISSUER, Method::Jwt, r#"{"iat":1020}"#));
    for issuer in [ISSUER, OTHER] {
        revocations.revoke(&Cutoff::subject(issuer, "alice").at(UnixTime::from_secs(1_000_000)));
    }
    assert_eq!(standing_of(&revocations, ISSUER, "alice", 1_020), Standing::Revoked);
    assert_eq!(standing_of(&revocations, ISSUER, "alice", 1_021), Standing::Stands);
    assert_eq!(standing_of(&revocations, OTHER, "alice", 1_001), Standing::Stands);
}

#[tokio::test(start_paused = true)]
async fn cutoff_ends_when_every_token_that_it_covers_has_expired_by_both_clocks() {
    const HOUR: i64 = 3_600;
    let longest = Duration::from_secs(3_600);
    let at = UnixTime::from_secs(10_100);
    for cutoff in [
        Cutoff::issuer(ISSUER).at(at),
        Cutoff::subject(ISSUER, "alice").at(at),
        Cutoff::session(ISSUER, "s").at(at).of_subject("alice"),
        Cutoff::token(ISSUER, "1").at(at),
    ] {
        let hand = Hand(Arc::new(AtomicI64::new(10_000)));
        let ending = Revocations::new().clock(hand.clone()).max_token_lifetime(longest);
        let lasting = Revocations::new().clock(hand.clone());
        for revocations in [&ending, &lasting] {
            revocations.revoke(&cutoff);
        }
        let end = 10_100 + HOUR + 600;
        let pass = async |seconds: i64| {
            tokio::time::advance(Duration::from_secs(seconds.unsigned_abs())).await;
        };
        // The wall clock alone, as after a step.
        hand.0.store(end + 1_000_000, Ordering::Relaxed);
        assert_eq!(ending.len(), 1);
        hand.0.store(end - 1, Ordering::Relaxed);
        // The monotonic clock alone, as after a step back.
        pass(end - 10_000).await;
        assert_eq!(ending.len(), 1);
        hand.0.store(end, Ordering::Relaxed);
        assert_eq!((ending.len(), ending.is_empty()), (0, true));
        assert_eq!((lasting.len(), lasting.is_empty()), (1, false));
        // A cutoff that arrives late covers what was issued before, and ends no sooner.
        ending.revoke(&Cutoff::token(ISSUER, "1").at(UnixTime::from_secs(1)));
        assert_eq!(ending.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn ended_cutoffs_leave_their_places_to_others() {
    let hand = Hand(Arc::default());
    let longest = Duration::from_secs(3_600);
    let revocations = Revocations::with_capacity(200).clock(hand.clone());
    let revocations = revocations.max_token_lifetime(longest);
    // 84 cutoffs at a time are in force, in a table for 200.
    for n in 0..2_000_i64 {
        hand.0.store(n * 60, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(60)).await;
        revocations.revoke(&Cutoff::subject(ISSUER, format!("user-{n}")));
        let bob = standing_of(&revocations, ISSUER, "bob", (n - 59) * 60);
        assert_eq!(bob, Standing::Stands, "{n}");
        let logged_out = format!("user-{}", (n - 59).max(0));
        let old = standing_of(&revocations, ISSUER, &logged_out, 0);
        assert_eq!(old, Standing::Revoked, "{n}");
    }
    assert!(revocations.len() < 90);
}

/// A clock that can't be right before this time.
#[derive(Clone, Debug)]
pub(super) struct Booting(pub(super) Hand);

impl Clock for Booting {
    fn now(&self) -> UnixTime {
        self.0.now()
    }

    fn can_be_right(&self, time: UnixTime) -> bool {
        time >= UnixTime::from_secs(1_000)
    }
}

#[tokio::test(start_paused = true)]
async fn cutoff_that_comes_while_the_clock_is_wrong_covers_the_tokens_issued_until_then() {
    let hand = Hand(Arc::default());
    let revocations = Revocations::new().clock(Booting(hand.clone()));
    revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
    revocations.revoke(&Cutoff::issuer(OTHER).at(UnixTime::from_secs(9_000)));
    for issuer in [ISSUER, OTHER] {
        assert_eq!(standing_of(&revocations, issuer, "alice", 1_000_000), Standing::Revoked);
    }
    // The clock is set half an hour after the cutoff, which was at 10 000.
    tokio::time::advance(Duration::from_secs(1_800)).await;
    hand.0.store(11_800, Ordering::Relaxed);
    for issuer in [ISSUER, OTHER] {
        assert_eq!(standing_of(&revocations, issuer, "alice", 10_300), Standing::Revoked);
        assert_eq!(standing_of(&revocations, issuer, "alice", 10_301), Standing::Stands);
    }
    assert_eq!(standing_of(&revocations, ISSUER, "bob", 1), Standing::Stands);
}
