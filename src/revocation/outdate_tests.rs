use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use super::{
    super::cutoff::Target,
    tests::{Booting, Hand, ISSUER, OTHER, fact, revocations},
    *,
};
use crate::{clock::UnixTime, verify::active::Method};

const ALICE: &str = r#"{"sub":"alice","sid":"s","client_id":"c","jti":"t","iat":1}"#;

/// The cutoffs that name the token of alice, each by another claim.
fn cutoffs() -> [Cutoff; 5] {
    [
        Cutoff::issuer(ISSUER),
        Cutoff::subject(ISSUER, "alice"),
        Cutoff::session(ISSUER, "s"),
        Cutoff::client(ISSUER, "c"),
        Cutoff::token(ISSUER, "t"),
    ]
}

async fn tick() {
    tokio::time::advance(Duration::from_nanos(1)).await;
}

fn is_outdated(revocations: &Revocations, active: &ActiveToken) -> bool {
    matches!(revocations.check(active), Standing::Outdated(_))
}

#[tokio::test(start_paused = true)]
async fn outdated_facts_are_asked_anew_and_later_ones_stand() {
    for cutoff in cutoffs() {
        for method in [Method::Introspection, Method::Confirmed, Method::Fallback, Method::Custom] {
            let revocations = revocations(10);
            let before = fact(ISSUER, method, ALICE);
            let others = [fact(OTHER, method, ALICE), fact(ISSUER, method, r#"{"sub":"bob"}"#)];
            tick().await;
            revocations.outdate(&cutoff);
            assert!(is_outdated(&revocations, &before), "{method:?} {cutoff:?}");
            assert_eq!(revocations.check(&others[0]), Standing::Stands);
            let names_bob = matches!(cutoff.target, Target::Issuer);
            assert_eq!(is_outdated(&revocations, &others[1]), names_bob, "{cutoff:?}");
            let after = fact(ISSUER, method, ALICE);
            assert_eq!(revocations.check(&after), Standing::Stands, "{method:?} {cutoff:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn local_jwt_stands_whatever_is_outdated() {
    let far = UnixTime::from_secs(1_300);
    for cutoff in cutoffs().into_iter().chain(cutoffs().map(|cutoff| cutoff.at(far))) {
        let revocations = revocations(10);
        let jwts = [ALICE, r#"{"sub":"alice","sid":"s","client_id":"c","jti":"t"}"#]
            .map(|claims| fact(ISSUER, Method::Jwt, claims));
        tick().await;
        revocations.outdate(&cutoff);
        for jwt in &jwts {
            assert_eq!(revocations.check(jwt), Standing::Stands, "{cutoff:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn outdating_never_weakens_a_revocation_and_a_revocation_always_counts() {
    for cutoff in cutoffs() {
        for outdated_first in [true, false] {
            let revocations = revocations(10);
            let revoked = cutoff.clone().at(UnixTime::from_secs(500));
            if outdated_first {
                revocations.outdate(&cutoff);
                revocations.revoke(&revoked);
            } else {
                revocations.revoke(&revoked);
                let introspected = fact(ISSUER, Method::Introspection, ALICE);
                tick().await;
                assert_eq!(revocations.check(&introspected), Standing::Stands);
                revocations.outdate(&cutoff);
                assert!(is_outdated(&revocations, &introspected), "it was not moved forward");
            }
            assert_eq!(revocations.len(), 1);
            for method in [Method::Jwt, Method::Custom] {
                let old = fact(ISSUER, method, ALICE);
                assert_eq!(revocations.check(&old), Standing::Revoked, "{cutoff:?}");
            }
            // The time of the revocation is the one that was given.
            if revocations.in_force(1)[0].kind() != "token" {
                let later = ALICE.replace("\"iat\":1", "\"iat\":501");
                assert_eq!(revocations.check(&fact(ISSUER, Method::Jwt, &later)), Standing::Stands);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn folded_outdatings_revoke_nothing() {
    let jwt =
        |n: i64| fact(ISSUER, Method::Jwt, &format!(r#"{{"jti":"{n}","sub":"a","iat":{n}}}"#));
    let undated = fact(ISSUER, Method::Jwt, r#"{"jti":"1","sub":"a"}"#);
    // Of one subject, of one issuer, and of more issuers than there are places.
    for (capacity, of_subject, issuers) in [(100, true, 1), (10, false, 1), (10, false, 50)] {
        let revocations = revocations(capacity);
        let introspected = fact(ISSUER, Method::Introspection, r#"{"jti":"0","sub":"a"}"#);
        tick().await;
        for n in 0..300 {
            let issuer = match n % issuers {
                0 => ISSUER.to_owned(),
                other => format!("https://{other}.example.com"),
            };
            let cutoff = Cutoff::token(issuer, n.to_string());
            revocations.outdate(&if of_subject { cutoff.of_subject("a") } else { cutoff });
            assert!(revocations.len() <= 17);
        }
        assert!(is_outdated(&revocations, &introspected), "{capacity} {issuers}");
        for token in [jwt(0), jwt(150), jwt(299), undated.clone()] {
            assert_eq!(revocations.check(&token), Standing::Stands, "{capacity} {issuers}");
        }
        assert!(revocations.in_force(1_000).iter().all(|one| one.revoked_at().is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn outdatings_give_up_their_places_before_revocations() {
    let revocations = revocations(100);
    for n in 0..30 {
        revocations.revoke(&Cutoff::subject(ISSUER, format!("user-{n}")));
    }
    for n in 0..1_000 {
        tick().await;
        revocations.outdate(&Cutoff::subject(ISSUER, format!("other-{n}")));
    }
    let bob = fact(ISSUER, Method::Jwt, r#"{"sub":"bob","iat":1}"#);
    assert_eq!(revocations.check(&bob), Standing::Stands);
    for n in 0..30 {
        let jwt = fact(ISSUER, Method::Jwt, &format!(r#"{{"sub":"user-{n}","iat":1}}"#));
        assert_eq!(revocations.check(&jwt), Standing::Revoked);
    }
}

#[tokio::test(start_paused = true)]
async fn folding_a_revoked_token_covers_no_more_after_it_was_outdated() {
    let hand = Hand(Arc::new(AtomicI64::new(1_000)));
    let revocations = Revocations::new().clock(hand.clone());
    let token = |n: i64| Cutoff::token(ISSUER, n.to_string()).of_subject("bob");
    revocations.revoke(&token(0).at(UnixTime::from_secs(900)));
    hand.0.store(9_000, Ordering::Relaxed);
    for n in 0..17 {
        revocations.outdate(&token(n));
    }
    assert_eq!(revocations.in_force(10)[0].kind(), "subject");
    for (iat, standing) in [(1_300, Standing::Revoked), (1_301, Standing::Stands)] {
        let jwt = format!(r#"{{"sub":"bob","iat":{iat}}}"#);
        assert_eq!(revocations.check(&fact(ISSUER, Method::Jwt, &jwt)), standing, "{iat}");
    }
}

#[tokio::test(start_paused = true)]
async fn outdating_that_comes_while_the_clock_is_wrong_revokes_nothing() {
    let hand = Hand(Arc::default());
    let revocations = Revocations::new().clock(Booting(hand.clone()));
    let before = fact(ISSUER, Method::Introspection, ALICE);
    tick().await;
    revocations.outdate(&Cutoff::subject(ISSUER, "alice"));
    let jwt = fact(ISSUER, Method::Jwt, ALICE);
    for now in [0, 10_000] {
        hand.0.store(now, Ordering::Relaxed);
        assert_eq!(revocations.check(&jwt), Standing::Stands);
        assert!(is_outdated(&revocations, &before));
        assert_eq!(revocations.in_force(1)[0].revoked_at(), None);
    }
    // It leaves the time of a revocation open that came then.
    hand.0.store(0, Ordering::Relaxed);
    revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
    revocations.outdate(&Cutoff::subject(ISSUER, "alice"));
    assert_eq!(revocations.check(&jwt), Standing::Revoked);
}

#[tokio::test(start_paused = true)]
async fn outdating_ends_when_every_token_that_it_names_has_expired() {
    let hand = Hand(Arc::new(AtomicI64::new(10_000)));
    let lifetime = Duration::from_secs(3_600);
    let revocations = Revocations::new().clock(hand.clone()).max_token_lifetime(lifetime);
    revocations.outdate(&Cutoff::subject(ISSUER, "alice"));
    for (passed, left) in [(4_199, 1), (4_200, 0)] {
        hand.0.store(10_000 + passed, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(if left == 1 { 4_199 } else { 1 })).await;
        assert_eq!(revocations.in_force(10).len(), left);
    }
}
