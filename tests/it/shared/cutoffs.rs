//! Cutoffs that are told to a feed, and those that a feed tells.

use tower_introspect::{
    Policy,
    clock::UnixTime,
    credentials::Scheme,
    revocation::{Cutoff, Revocations},
    test_util::TestClock,
    verify::{ActiveToken, Method},
};

use super::*;
use crate::support::{AUDIENCE, ISSUER};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// Cutoffs with a clock, connected to a feed.
fn connected() -> (Revocations, TestFeed, TestClock) {
    let clock = TestClock::new(NOW);
    let revocations = Revocations::new().clock(clock.clone());
    let feed = TestFeed::default();
    revocations.connect(Arc::new(feed.clone())).unwrap();
    (revocations, feed, clock)
}

fn alice() -> Cutoff {
    Cutoff::subject(ISSUER, "alice")
}

fn seconds(seconds: i64) -> UnixTime {
    UnixTime::from_secs(NOW.as_secs() + seconds)
}

#[tokio::test(start_paused = true)]
async fn revocation_is_published_once_as_it_was_given() {
    let (revocations, feed, _) = connected();
    revocations.revoke(&Cutoff::session(ISSUER, "one").of_subject("alice"));
    assert_eq!(feed.published(), [(true, "session", "one".to_owned())]);
    let change = feed.last();
    assert_eq!(change.cutoff().issuer_name(), ISSUER);
    assert_eq!(change.cutoff().subject_name(), Some("alice"));
    // The same once more is a later one.
    revocations.revoke(&Cutoff::session(ISSUER, "one").of_subject("alice"));
    assert_eq!((feed.published().len(), revocations.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_cutoff_can_be_made_again_from_what_is_published() {
    let (revocations, feed, _) = connected();
    for cutoff in [
        Cutoff::client(ISSUER, "web"),
        Cutoff::issuer(ISSUER),
        Cutoff::session(ISSUER, "one"),
        alice(),
        Cutoff::token(ISSUER, "jti"),
    ] {
        revocations.revoke(&cutoff);
        let change = feed.last();
        let told = change.cutoff();
        let again = Cutoff::of_kind(told.kind(), told.issuer_name(), told.value()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{cutoff:?}"));
    }
    assert_eq!(feed.published().len(), 5);
    for (kind, value) in [("subject", None), ("issuer", Some("x")), ("scope", Some("x"))] {
        assert!(Cutoff::of_kind(kind, ISSUER, value).is_none(), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn published_revocation_has_the_time_until_which_tokens_are_revoked() {
    let (revocations, feed, clock) = connected();
    let time_of = |cutoff: &Cutoff| {
        revocations.revoke(cutoff);
        let change = feed.last();
        let (told, here) = (change.cutoff().time(), revocations.in_force_for(cutoff, 1));
        assert_eq!(told, here[0].revoked_at(), "another time is in force here");
        told
    };
    assert_eq!(time_of(&alice()), Some(NOW));
    assert_eq!(time_of(&Cutoff::subject(ISSUER, "bob").at(seconds(-60))), Some(seconds(-60)));
    // It may be a time in milliseconds.
    let milliseconds = UnixTime::from_secs(NOW.as_millis());
    assert_eq!(time_of(&Cutoff::subject(ISSUER, "carol").at(milliseconds)), Some(NOW));
    // The clock of the issuer is ahead, which a token that was admitted has shown.
    let claims = format!(r#"{{"sub":"dave","aud":"{AUDIENCE}","iat":{}}}"#, seconds(20).as_secs());
    let claims = tower_introspect::claims::Claims::from_json(claims.as_bytes()).unwrap();
    let start = tower_introspect::clock::Moment::now(&clock);
    let policy = Policy::new(AUDIENCE).clock(clock.clone()).revocations(revocations.clone());
    policy.admit(ActiveToken::new(ISSUER, claims, Method::Custom, start), Scheme::Bearer).unwrap();
    assert_eq!(time_of(&Cutoff::subject(ISSUER, "dave")), Some(seconds(20)));
}

#[derive(Debug)]
struct WrongClock;

impl Clock for WrongClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(0)
    }

    fn can_be_right(&self, _: UnixTime) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn revocation_of_an_instance_whose_clock_is_wrong_is_published_without_a_time() {
    let revocations = Revocations::new().clock(WrongClock);
    let feed = TestFeed::default();
    revocations.connect(Arc::new(feed.clone())).unwrap();
    for cutoff in [alice(), alice().at(NOW)] {
        revocations.revoke(&cutoff);
        assert_eq!(feed.last().cutoff().time(), None);
    }
    assert_eq!(feed.published().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn outdating_is_published_once_and_revokes_nothing() {
    let (revocations, feed, _) = connected();
    revocations.outdate(&alice());
    assert_eq!(feed.published(), [(false, "subject", "alice".to_owned())]);
    assert_eq!(revocations.in_force(10)[0].revoked_at(), None);
}

#[tokio::test(start_paused = true)]
async fn change_of_another_instance_is_in_force_and_not_published_again() {
    let (revocations, feed, _) = connected();
    let local = revocations.local();
    local.apply(&CutoffChange::Revoke(alice().at(seconds(-5))));
    local.apply(&CutoffChange::Outdate(Cutoff::client(ISSUER, "web")));
    let in_force = |cutoff: &Cutoff| revocations.in_force_for(cutoff, 1)[0].revoked_at();
    assert_eq!(in_force(&alice()), Some(seconds(-5)));
    assert_eq!(in_force(&Cutoff::client(ISSUER, "web")), None);
    assert_eq!(revocations.len(), 2);
    local.doubt(REASON, SEC);
    assert!(feed.published().is_empty());
}

/// The other instance has another clock, and may have extended the time of a cutoff for one token.
#[tokio::test(start_paused = true)]
async fn time_that_another_instance_tells_may_be_ten_minutes_ahead() {
    let (revocations, ..) = connected();
    for (told, here) in [(600, 600), (601, 0), (3600, 0)] {
        let cutoff = Cutoff::subject(ISSUER, format!("told-{told}"));
        revocations.local().apply(&CutoffChange::Revoke(cutoff.clone().at(seconds(told))));
        let in_force = revocations.in_force_for(&cutoff, 1);
        assert_eq!(in_force[0].revoked_at(), Some(seconds(here)), "{told}");
    }
    // The application may be five ahead.
    for (given, here) in [(300, 300), (301, 0)] {
        let cutoff = Cutoff::subject(ISSUER, format!("given-{given}"));
        revocations.revoke(&cutoff.clone().at(seconds(given)));
        let in_force = revocations.in_force_for(&cutoff, 1);
        assert_eq!(in_force[0].revoked_at(), Some(seconds(here)), "{given}");
    }
}

#[tokio::test(start_paused = true)]
async fn cutoffs_from_before_the_feed_are_not_published() {
    let revocations = Revocations::new();
    revocations.revoke(&alice());
    let feed = TestFeed::default();
    revocations.connect(Arc::new(feed.clone())).unwrap();
    assert!(feed.published().is_empty());
    // All clones share the feed.
    revocations.clone().revoke(&alice());
    assert_eq!(feed.published().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn second_feed_is_refused_and_the_first_one_stays() {
    let (revocations, feed, _) = connected();
    let second = TestFeed::required();
    let error = revocations.connect(Arc::new(second.clone())).unwrap_err();
    let problems: Vec<_> = error.problems().collect();
    assert_eq!(problems, [("revocations", "they have a feed already")]);
    revocations.revoke(&alice());
    assert_eq!((feed.published().len(), second.published().len()), (1, 0));
}

/// A feed that keeps the handle to the cutoffs that it belongs to.
#[derive(Debug)]
struct Keeping {
    _local: LocalCutoffs,
}

impl CutoffFeed for Keeping {
    fn publish(&self, _: CutoffChange) {}

    fn flush(&self) -> Flushing {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn handle_of_a_feed_does_not_keep_the_cutoffs_alive() {
    let revocations = Revocations::new().max_token_lifetime(SEC);
    let local = revocations.local();
    revocations.connect(Arc::new(Keeping { _local: local.clone() })).unwrap();
    let clone = revocations.clone();
    drop(revocations);
    assert!(!local.is_gone(), "a clone is left");
    drop(clone);
    assert!(local.is_gone());
    assert_eq!(local.max_token_lifetime(), None);
    // Nothing is left to change.
    local.apply(&CutoffChange::Revoke(alice()));
    local.doubt(REASON, SEC);
    local.set_state(tower_introspect::revocation::FeedState::Current);
}

#[tokio::test(start_paused = true)]
async fn feed_can_tell_when_cutoffs_end() {
    let (unlimited, limited) = (Revocations::new(), Revocations::new().max_token_lifetime(SEC));
    assert_eq!(unlimited.local().max_token_lifetime(), None);
    assert_eq!(limited.local().max_token_lifetime(), Some(SEC));
}

#[tokio::test(start_paused = true)]
async fn flush_is_that_of_the_feed() {
    assert!(Revocations::new().flush().await.is_ok());
    let (revocations, feed, _) = connected();
    revocations.revoke(&alice());
    assert!(revocations.flush().await.is_ok());
    assert_eq!(feed.flushed(), 1);
    feed.set_flush(Flush::Fails);
    assert_eq!(revocations.flush().await.unwrap_err().to_string(), "the tier is away");
    feed.set_flush(Flush::Hangs);
    assert!(tokio::time::timeout(60 * SEC, revocations.flush()).await.is_err());
}
