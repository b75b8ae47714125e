//! Feeds that JWTs depend on.

use tower_introspect::{
    ErrorKind, Issuer,
    revocation::{
        Cutoff,
        FeedState::{Behind, Current},
        RevocationLayer, Revocations,
    },
    verify::{Method, Verifier as _},
};
use tower_layer::Layer as _;

use super::*;
use crate::{
    scripted::{Act, Scripted, at_once, kind, token},
    support::{ISSUER, challenge, refusal},
    world::{World, auth},
};

/// Returns a world whose feed is this one.
fn world(issuer: Issuer, feed: TestFeed) -> World {
    let world = World::with(|api| {
        let tier = TestTier::with_feed(move |_, _| Ok(Some(Arc::new(feed.clone()))));
        api.issuer(issuer).shared(tier)
    });
    assert_eq!(world.api.feed_state(), Some(Behind));
    world
}

#[tokio::test(start_paused = true)]
async fn jwts_are_503_while_a_required_feed_is_behind() {
    let world = world(Issuer::jwt(ISSUER), TestFeed::required());
    let (local, jwt) = (world.api.revocations().local(), world.jwt());
    let unavailable = async |token: &str| {
        let response = world.present(token).await;
        assert_eq!(response.status(), 503);
        assert_eq!(refusal(&response), Some(ErrorKind::Unavailable));
        assert_eq!(challenge(response.headers()), None, "a challenge blames the client");
        assert!(response.headers().contains_key("retry-after"));
    };
    // Nothing has set the state yet.
    unavailable(&jwt).await;
    local.set_state(Behind);
    unavailable(&jwt).await;
    local.set_state(Current);
    for _ in 0..2 {
        assert_eq!(world.status(&jwt).await, 200);
    }
    local.set_state(Behind);
    // One is in the cache, the other is not.
    unavailable(&jwt).await;
    unavailable(&world.jwt()).await;
    local.set_state(Current);
    assert_eq!(world.status(&jwt).await, 200);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_the_server_is_asked_about_are_served_while_a_required_feed_is_behind() {
    for issuer in [
        Issuer::introspect(ISSUER, auth()),
        Issuer::hybrid(ISSUER, auth()),
        Issuer::jwt_and_introspect(ISSUER, auth(), 30 * SEC),
    ] {
        let name = format!("{issuer:?}");
        let world = world(issuer, TestFeed::required());
        let token = world.opaque();
        for _ in 0..2 {
            assert_eq!(world.status(&token).await, 200, "{name}");
        }
        assert_eq!(world.asked(), 1, "{name}");
    }
    // A JWT that is confirmed by the server.
    let confirmed = Issuer::jwt_and_introspect(ISSUER, auth(), 30 * SEC);
    let world = world(confirmed, TestFeed::required());
    assert_eq!((world.status(&world.jwt()).await, world.asked()), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn feed_that_is_not_required_refuses_nothing() {
    let world = world(Issuer::hybrid(ISSUER, auth()), TestFeed::default());
    let (local, jwt, opaque) = (world.api.revocations().local(), world.jwt(), world.opaque());
    for state in [None, Some(Behind), Some(Current), Some(Behind)] {
        if let Some(state) = state {
            local.set_state(state);
        }
        assert_eq!((world.status(&jwt).await, world.status(&opaque).await), (200, 200));
    }
}

#[tokio::test(start_paused = true)]
async fn state_that_is_set_while_the_feed_is_made_counts() {
    for (state, status) in [(Current, 200), (Behind, 503)] {
        let tier = TestTier::with_feed(move |local, _| {
            local.set_state(state);
            Ok(Some(Arc::new(TestFeed::required())))
        });
        let world = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).shared(tier));
        assert_eq!(world.api.feed_state(), Some(state));
        assert_eq!(world.status(&world.jwt()).await, status);
    }
}

/// Returns cutoffs with a required feed that is behind.
fn behind(server: &Scripted) -> Revocations {
    let revocations = Revocations::new().clock(server.clock.clone());
    revocations.connect(Arc::new(TestFeed::required())).unwrap();
    revocations
}

#[tokio::test(start_paused = true)]
async fn only_facts_that_no_server_stated_depend_on_the_feed() {
    for (method, expected) in [
        (Method::Jwt, Some(ErrorKind::Unavailable)),
        (Method::Custom, Some(ErrorKind::Unavailable)),
        (Method::Confirmed, None),
        (Method::Fallback, None),
        (Method::Introspection, None),
    ] {
        let server = Scripted::new().by(method);
        let revocations = behind(&server);
        let verifier = RevocationLayer::new(revocations.clone()).layer(server.clone());
        assert_eq!(kind(&at_once(&verifier, token("abc"))), expected, "{method:?}");
        assert_eq!(server.calls(), 1, "{method:?}: it was tried again");
        revocations.local().set_state(Current);
        assert_eq!(kind(&at_once(&verifier, token("abc"))), None, "{method:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_returned_unchanged_while_a_required_feed_is_behind() {
    let server = Scripted::new().by(Method::Jwt);
    let verifier = RevocationLayer::new(behind(&server)).layer(server.clone());
    for error in [ErrorKind::Expired, ErrorKind::Inactive, ErrorKind::BadSignature] {
        server.always(Act::refuse(error));
        assert_eq!(kind(&at_once(&verifier, token("abc"))), Some(error));
    }
}

#[tokio::test(start_paused = true)]
async fn jwt_whose_verification_is_under_way_when_the_feed_falls_behind_is_refused() {
    let server = Scripted::new().by(Method::Jwt).takes(SEC);
    let revocations = behind(&server);
    revocations.local().set_state(Current);
    let verifier = RevocationLayer::new(revocations.clone()).layer(server.clone());
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    tokio::time::sleep(SEC / 2).await;
    revocations.local().set_state(Behind);
    assert_eq!(kind(&waiting.await.unwrap()), Some(ErrorKind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn known_cutoffs_hold_in_every_state() {
    let server = Scripted::new().by(Method::Jwt);
    let revocations = behind(&server);
    let verifier = RevocationLayer::new(revocations.clone()).layer(server);
    revocations.revoke(&Cutoff::subject(ISSUER, "alice"));
    for state in [Behind, Current, Behind] {
        revocations.local().set_state(state);
        assert!(at_once(&verifier, token("abc")).is_err(), "{state:?}");
    }
    revocations.local().set_state(Current);
    assert_eq!(kind(&at_once(&verifier, token("abc"))), Some(ErrorKind::Revoked));
}
