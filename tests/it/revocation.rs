//! Cutoffs, applied to every outcome.

use std::time::Duration;

use futures_util::{FutureExt, future::join_all};
use tokio::time::{advance, sleep};
use tower_introspect::{
    ErrorKind, Policy, VerifyError,
    cache::CacheLayer,
    claims::Claims,
    clock::{Clock, Moment, UnixTime},
    credentials::Scheme,
    revocation::{Cutoff, RevocationCheck, RevocationLayer, Revocations},
    test_util::TestClock,
    upstream::CoalesceLayer,
    verify::{ActiveToken, Freshness, Method, Verifier, verify_fn},
};
use tower_layer::Layer;

use crate::{
    scripted::{Act, Scripted, at_once, kind, token},
    support::{AUDIENCE, ISSUER},
};

const SEC: Duration = Duration::from_secs(1);

fn verifier_with_cutoffs(server: &Scripted) -> (RevocationCheck<Scripted>, Revocations) {
    let revocations = Revocations::new().clock(server.clock.clone());
    (RevocationLayer::new(revocations.clone()).layer(server.clone()), revocations)
}

fn alice() -> Cutoff {
    Cutoff::subject(ISSUER, "alice")
}

#[tokio::test(start_paused = true)]
async fn jwt_issued_before_a_cutoff_is_revoked_and_later_ones_are_not() {
    let server = Scripted::new().by(Method::Jwt);
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    let claims = |iat| {
        Act::Accept(if iat == 1 {
            r#"{"sub":"alice","iat":1800000000}"#
        } else {
            r#"{"sub":"alice","iat":1800000001}"#
        })
    };
    server.always(claims(1));
    assert!(at_once(&verifier, token("abc")).is_ok());
    revocations.revoke(&alice());
    assert_eq!(kind(&at_once(&verifier, token("abc"))), Some(ErrorKind::Revoked));
    server.always(claims(2));
    assert!(at_once(&verifier, token("new")).is_ok());
    server.always(Act::alice());
    assert_eq!(kind(&at_once(&verifier, token("undated"))), Some(ErrorKind::Revoked));
}

#[tokio::test(start_paused = true)]
async fn cutoff_voids_a_pending_introspection() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    server.always(Act::refuse(ErrorKind::Inactive));
    revocations.revoke(&alice());
    assert_eq!(kind(&waiting.await.unwrap()), Some(ErrorKind::Inactive), "not verified again");
    assert_eq!(server.calls(), 2);
    assert_eq!(
        server.requested_freshness()[1],
        Freshness::Cached,
        "requested by a moment, not an age"
    );
}

#[tokio::test(start_paused = true)]
async fn outdating_voids_a_pending_introspection() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    server.always(Act::refuse(ErrorKind::Inactive));
    revocations.outdate(&alice());
    assert_eq!(kind(&waiting.await.unwrap()), Some(ErrorKind::Inactive), "not verified again");
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn outdated_cache_entry_is_asked_for_anew_once_and_a_jwt_is_not() {
    for (method, calls) in [(Method::Introspection, 2), (Method::Custom, 2), (Method::Jwt, 1)] {
        let server = Scripted::new().by(method);
        let revocations = Revocations::new().clock(server.clock.clone());
        let cache = CacheLayer::new().revocations(revocations.clone()).clock(server.clock.clone());
        let verifier = RevocationLayer::new(revocations.clone()).layer(cache.layer(server.clone()));
        assert!(verifier.verify(token("abc")).await.is_ok());
        advance(SEC).await;
        revocations.outdate(&alice());
        for _ in 0..3 {
            assert!(verifier.verify(token("abc")).await.is_ok(), "{method:?}");
        }
        assert_eq!(server.calls(), calls, "{method:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn token_still_active_after_a_cutoff_is_admitted() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    revocations.revoke(&Cutoff::issuer(ISSUER));
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(server.calls(), 2);
    // No request is repeated without need.
    assert!(verifier.verify(token("abc")).await.is_ok());
    assert_eq!(server.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn cutoff_applies_to_a_pending_jwt_verification() {
    let server = Scripted::new().by(Method::Jwt).takes(SEC);
    server.always(Act::Accept(r#"{"sub":"alice","iat":1}"#));
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    revocations.revoke(&alice());
    assert_eq!(kind(&waiting.await.unwrap()), Some(ErrorKind::Revoked));
    assert_eq!(server.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn verification_started_before_a_cutoff_is_not_joined() {
    let server = Scripted::new().takes(SEC);
    let revocations = Revocations::new().clock(server.clock.clone());
    let flights = CoalesceLayer::new().clock(server.clock.clone()).layer(server.clone());
    let verifier = RevocationLayer::new(revocations.clone()).layer(flights);
    let first = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    server.always(Act::refuse(ErrorKind::Inactive));
    revocations.revoke(&alice());
    advance(Duration::from_nanos(1)).await;
    // It joins the pending verification, which the cutoff then makes invalid.
    let second = tokio::spawn(verifier.verify(token("abc")));
    assert_eq!(kind(&first.await.unwrap()), Some(ErrorKind::Inactive));
    assert_eq!(kind(&second.await.unwrap()), Some(ErrorKind::Inactive));
    assert_eq!(server.calls(), 2, "both share the second verification");
}

#[tokio::test(start_paused = true)]
async fn requests_voided_by_a_cutoff_share_one_verification() {
    let server = Scripted::new().takes(SEC);
    let revocations = Revocations::new().clock(server.clock.clone());
    let flights = CoalesceLayer::new().clock(server.clock.clone()).layer(server.clone());
    let verifier = RevocationLayer::new(revocations.clone()).layer(flights);
    let mut waiting: Vec<_> = (0..64).map(|_| Box::pin(verifier.verify(token("abc")))).collect();
    for one in &mut waiting {
        assert!(one.now_or_never().is_none());
    }
    advance(SEC / 2).await;
    revocations.revoke(&alice());
    advance(SEC / 2).await;
    for one in &mut waiting {
        assert!(one.now_or_never().is_none(), "not verified again");
        advance(Duration::from_micros(1)).await;
    }
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn verifier_that_supports_only_ages_is_given_an_age() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    for _ in 0..2 {
        sleep(SEC * 3 / 4).await;
        revocations.revoke(&alice());
    }
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(server.requested_freshness()[2], Freshness::Within(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn endless_cutoffs_are_not_blamed_on_the_client() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    let storm = tokio::spawn(async move {
        loop {
            sleep(SEC / 4).await;
            revocations.revoke(&alice());
        }
    });
    assert_eq!(kind(&waiting.await.unwrap()), Some(ErrorKind::Unavailable));
    assert!(server.calls() <= 3);
    storm.abort();
}

#[tokio::test(start_paused = true)]
async fn refusals_are_returned_unchanged() {
    let server = Scripted::new();
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    revocations.revoke(&Cutoff::issuer(ISSUER));
    for error in [ErrorKind::Inactive, ErrorKind::Unavailable, ErrorKind::CredentialsRejected] {
        server.always(Act::Refuse(VerifyError::new(error)));
        assert_eq!(kind(&at_once(&verifier, token("abc"))), Some(error));
    }
}

#[tokio::test(start_paused = true)]
async fn live_request_stays_live_after_a_cutoff() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc").with_freshness(Freshness::Live)));
    sleep(SEC / 2).await;
    revocations.revoke(&alice());
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(server.requested_freshness(), [Freshness::Live; 2]);
}

#[tokio::test(start_paused = true)]
async fn step_of_the_wall_clock_does_not_void_a_cutoff() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = verifier_with_cutoffs(&server);
    let before = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    server.clock.step_back(Duration::from_secs(3_600));
    revocations.revoke(&alice().at(server.clock.now()));
    assert!(before.await.unwrap().is_ok());
    assert_eq!(
        server.requested_freshness().len(),
        2,
        "the first outcome is from before the cutoff"
    );
    assert!(verifier.verify(token("abc")).await.is_ok());
    assert_eq!(server.requested_freshness().len(), 3, "this one is from after it");
    assert!(revocations.len() == 1 && server.clock.now() < UnixTime::from_secs(1_800_000_000));
}

const NOW: i64 = 1_800_000_000;

/// A JWT of alice that was issued this many seconds from now.
fn issued(issuer: &str, audience: &str, ahead: i64) -> ActiveToken {
    let iat = NOW + ahead;
    let claims = format!(r#"{{"sub":"alice","aud":"{audience}","iat":{iat},"exp":{}}}"#, iat + 900);
    let claims = Claims::from_json(claims.as_bytes()).unwrap();
    let clock = TestClock::new(UnixTime::from_secs(NOW));
    ActiveToken::new(issuer, claims, Method::Jwt, Moment::now(&clock))
}

async fn is_revoked(revocations: &Revocations, active: ActiveToken) -> bool {
    let verifier = verify_fn(move |_| std::future::ready(Ok(active.clone())));
    let outcome = RevocationLayer::new(revocations.clone()).layer(verifier).verify(token("abc"));
    kind(&outcome.await) == Some(ErrorKind::Revoked)
}

/// The issuer is trusted, and its tokens are well signed.
#[tokio::test(start_paused = true)]
async fn hostile_issuer_moves_no_cutoff_of_another_issuer() {
    const HOSTILE: &str = "https://hostile.example.com";
    let clock = TestClock::new(UnixTime::from_secs(NOW));
    let revocations = Revocations::new().clock(clock.clone());
    let policy = Policy::new(AUDIENCE).leeway(SEC * 300).clock(clock);
    let policy = policy.revocations(revocations.clone());
    for audience in ["https://elsewhere.example.com", AUDIENCE] {
        let ahead = issued(HOSTILE, audience, 299);
        assert!(!is_revoked(&revocations, ahead.clone()).await);
        assert_eq!(policy.admit(ahead, Scheme::Bearer).is_ok(), audience == AUDIENCE);
    }
    revocations.revoke(&alice());
    assert!(is_revoked(&revocations, issued(ISSUER, AUDIENCE, 0)).await);
    assert!(!is_revoked(&revocations, issued(ISSUER, AUDIENCE, 1)).await, "her new login");
    // It affects itself.
    revocations.revoke(&Cutoff::subject(HOSTILE, "alice"));
    assert!(is_revoked(&revocations, issued(HOSTILE, AUDIENCE, 299)).await);
    assert!(!is_revoked(&revocations, issued(HOSTILE, AUDIENCE, 300)).await);
}

#[tokio::test(start_paused = true)]
async fn only_admitted_tokens_show_that_the_clock_of_their_issuer_is_ahead() {
    let clock = TestClock::new(UnixTime::from_secs(NOW));
    let revocations = Revocations::new().clock(clock.clone());
    let policy = Policy::new(AUDIENCE).clock(clock).revocations(revocations.clone());
    // For another service, or further ahead than the leeway.
    for refused in
        [issued(ISSUER, "https://elsewhere.example.com", 20), issued(ISSUER, AUDIENCE, 31)]
    {
        assert!(!is_revoked(&revocations, refused.clone()).await);
        assert!(policy.admit(refused, Scheme::Bearer).is_err());
    }
    revocations.revoke(&alice());
    assert!(!is_revoked(&revocations, issued(ISSUER, AUDIENCE, 1)).await);
    assert!(policy.admit(issued(ISSUER, AUDIENCE, 20), Scheme::Bearer).is_ok());
    revocations.revoke(&alice());
    assert!(is_revoked(&revocations, issued(ISSUER, AUDIENCE, 20)).await);
    assert!(!is_revoked(&revocations, issued(ISSUER, AUDIENCE, 21)).await);
}
