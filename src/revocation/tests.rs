use std::time::Duration;

use super::*;
use crate::{claims::claims_set::Claims, clock::tests::FixedClock, verify::active::Method};

const ISSUER: &str = "https://as.example.com";
const OTHER: &str = "https://other.example.com";

fn revocations(capacity: usize) -> Revocations {
    Revocations::with_capacity(capacity).clock(FixedClock(1_000))
}

fn fact(issuer: &str, method: Method, claims: &str) -> ActiveToken {
    let claims = Claims::from_json(claims.as_bytes()).unwrap();
    ActiveToken::new(issuer, claims, method, Moment::now(&FixedClock(1_000)))
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
    let fact_by_azp = fact(ISSUER, Method::Jwt, r#"{"azp":"x","client_id":"y","iat":1}"#);
    assert_eq!(client.check(&fact_by_azp), Standing::Revoked);
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

#[test]
fn too_many_cutoffs_become_one_for_all_tokens() {
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
    let later = fact(ISSUER, Method::Jwt, r#"{"sub":"user-1","iat":1301}"#);
    assert_eq!(revocations.check(&later), Standing::Stands);
    let elsewhere = fact(OTHER, Method::Jwt, r#"{"iat":1}"#);
    assert_eq!(revocations.check(&elsewhere), Standing::Stands);
}

/// A shared clock that tests set by hand.
#[derive(Clone, Debug)]
struct Hand(Arc<std::sync::atomic::AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::Relaxed))
    }
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

#[test]
fn too_many_issuers_become_one_cutoff_for_everyone() {
    let revocations = revocations(10);
    for n in 0..100 {
        revocations.revoke(&Cutoff::subject(format!("https://{n}.example.com"), "alice"));
        assert!(revocations.len() <= 11);
        for earlier in 0..=n {
            let issuer = format!("https://{earlier}.example.com");
            let token = fact(&issuer, Method::Jwt, r#"{"sub":"alice","iat":1}"#);
            assert_eq!(revocations.check(&token), Standing::Revoked, "{earlier} of {n}");
        }
    }
}

#[test]
fn a_cutoff_in_the_future_survives_the_overflow() {
    let revocations = revocations(4);
    let future = Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(9_000));
    revocations.revoke(&future);
    for n in 0..100 {
        revocations.revoke(&Cutoff::subject(ISSUER, format!("user-{n}")));
        revocations.revoke(&Cutoff::subject(format!("https://{n}.example.com"), "bob"));
    }
    let token = fact(ISSUER, Method::Jwt, r#"{"sub":"alice","iat":8000}"#);
    assert_eq!(revocations.check(&token), Standing::Revoked);
}
