//! Cutoffs, held against every outcome.

use std::time::Duration;

use futures_util::{FutureExt, future::join_all};
use tokio::time::{advance, sleep};
use tower_introspect::{
    ErrorKind, VerifyError,
    clock::{Clock, UnixTime},
    revocation::{Cutoff, Revocable, RevocationLayer, Revocations},
    upstream::CoalesceLayer,
    verify::{Freshness, Method, Verifier},
};
use tower_layer::Layer;

use crate::{
    scripted::{Act, Scripted, at_once, kind, token},
    support::ISSUER,
};

const SEC: Duration = Duration::from_secs(1);

fn guarded(server: &Scripted) -> (Revocable<Scripted>, Revocations) {
    let revocations = Revocations::new().clock(server.clock.clone());
    (RevocationLayer::new(revocations.clone()).layer(server.clone()), revocations)
}

fn alice() -> Cutoff {
    Cutoff::subject(ISSUER, "alice")
}

#[tokio::test(start_paused = true)]
async fn a_jwt_from_before_is_revoked_and_one_from_after_is_not() {
    let server = Scripted::new().by(Method::Jwt);
    let (verifier, revocations) = guarded(&server);
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
async fn an_answer_on_its_way_loses_against_a_cutoff_set_after_its_start() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = guarded(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    server.always(Act::refuse(ErrorKind::Inactive));
    revocations.revoke(&alice());
    assert_eq!(kind(&waiting.await.unwrap()), Some(ErrorKind::Inactive), "it was asked anew");
    assert_eq!(server.calls(), 2);
    assert_eq!(server.requested_freshness()[1], Freshness::Cached, "with a moment, not an age");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_still_vouches_for_is_let_in() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = guarded(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    revocations.revoke(&Cutoff::issuer(ISSUER));
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(server.calls(), 2);
    // Nothing is asked twice without a reason.
    assert!(verifier.verify(token("abc")).await.is_ok());
    assert_eq!(server.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_jwt_on_its_way_loses_too() {
    let server = Scripted::new().by(Method::Jwt).takes(SEC);
    server.always(Act::Accept(r#"{"sub":"alice","iat":1}"#));
    let (verifier, revocations) = guarded(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    revocations.revoke(&alice());
    assert_eq!(kind(&waiting.await.unwrap()), Some(ErrorKind::Revoked));
    assert_eq!(server.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_older_flight_is_not_joined_after_a_cutoff() {
    let server = Scripted::new().takes(SEC);
    let revocations = Revocations::new().clock(server.clock.clone());
    let flights = CoalesceLayer::new().clock(server.clock.clone()).layer(server.clone());
    let verifier = RevocationLayer::new(revocations.clone()).layer(flights);
    let first = tokio::spawn(verifier.verify(token("abc")));
    sleep(SEC / 2).await;
    server.always(Act::refuse(ErrorKind::Inactive));
    revocations.revoke(&alice());
    advance(Duration::from_nanos(1)).await;
    // It joins the one under way, which the cutoff then takes from it.
    let second = tokio::spawn(verifier.verify(token("abc")));
    assert_eq!(kind(&first.await.unwrap()), Some(ErrorKind::Inactive));
    assert_eq!(kind(&second.await.unwrap()), Some(ErrorKind::Inactive));
    assert_eq!(server.calls(), 2, "both share the second one");
}

#[tokio::test(start_paused = true)]
async fn those_whom_a_cutoff_sends_back_share_one_question_however_far_apart_they_notice() {
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
        assert!(one.now_or_never().is_none(), "it is asked anew");
        advance(Duration::from_micros(1)).await;
    }
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_knows_of_ages_only_is_told_an_age_in_the_end() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = guarded(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    for _ in 0..2 {
        sleep(SEC * 3 / 4).await;
        revocations.revoke(&alice());
    }
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(server.requested_freshness()[2], Freshness::Within(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_of_cutoffs_is_nobodys_bad_token() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = guarded(&server);
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
async fn refusals_pass_as_they_are() {
    let server = Scripted::new();
    let (verifier, revocations) = guarded(&server);
    revocations.revoke(&Cutoff::issuer(ISSUER));
    for error in [ErrorKind::Inactive, ErrorKind::Unavailable, ErrorKind::CredentialsRejected] {
        server.always(Act::Refuse(VerifyError::new(error)));
        assert_eq!(kind(&at_once(&verifier, token("abc"))), Some(error));
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_question_stays_live() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = guarded(&server);
    let waiting = tokio::spawn(verifier.verify(token("abc").with_freshness(Freshness::Live)));
    sleep(SEC / 2).await;
    revocations.revoke(&alice());
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(server.requested_freshness(), [Freshness::Live; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_wall_clock_turns_nothing_around() {
    let server = Scripted::new().takes(SEC);
    let (verifier, revocations) = guarded(&server);
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
