//! Signals that the other instances of the service can't learn of just now.

use std::sync::Arc;

use http::header::RETRY_AFTER;

use super::{
    push::{push, service},
    *,
};
use crate::shared::{Flush, TestFeed};

/// The description in a response to a signal that is in force here alone.
const NOT_SHARED: &str =
    "temporarily_unavailable: the other instances of the service can't be told just now";

/// Connects a feed to the cutoffs of a world. Its flushes fail.
pub(super) fn failing_feed(world: &World) -> TestFeed {
    let feed = TestFeed::default();
    feed.set_flush(Flush::Fails);
    world.api.revocations().connect(Arc::new(feed.clone())).unwrap();
    feed
}

fn logout_of_alice(world: &World) -> String {
    world.server.logout_token(CLIENT).subject("alice").mint()
}

/// A security event for the receiver of [`service`].
fn event_about_alice(world: &World) -> String {
    let event = world.server.security_event("https://api.example.com/events");
    event.of_subject("alice").session_revoked().mint()
}

#[tokio::test(start_paused = true)]
async fn logout_is_503_until_the_others_can_learn_of_it_and_in_force_here_at_once() {
    let world = World::new(Issuer::jwt(ISSUER));
    let (feed, service, token) = (failing_feed(&world), receiver(&world), world.jwt());
    assert_eq!(world.status(&token).await, 200);
    let logout = logout_of_alice(&world);
    for _ in 0..3 {
        let unavailable = (StatusCode::SERVICE_UNAVAILABLE, NOT_SHARED.to_owned());
        assert_eq!(deliver(&service, &logout).await, unavailable);
        assert_eq!(world.status(&token).await, 401);
    }
    let response = send(&service, form(format!("logout_token={logout}"))).await;
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    feed.set_flush(Flush::Succeeds);
    for _ in 0..2 {
        assert_eq!(deliver(&service, &logout).await, (StatusCode::OK, String::new()));
    }
    assert_eq!(feed.published(), [(true, "subject", "alice".to_owned())], "once");
    assert_eq!((feed.flushed(), service.pending()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn logout_that_is_refused_does_not_wait_for_the_others() {
    let world = World::new(Issuer::jwt(ISSUER));
    let (feed, service) = (failing_feed(&world), receiver(&world));
    let other = world.server.logout_token("other").subject("alice").mint();
    assert_eq!(deliver(&service, &other).await.0, StatusCode::BAD_REQUEST);
    assert!(feed.published().is_empty());
}

#[tokio::test(start_paused = true)]
async fn event_is_503_until_the_others_can_learn_of_it_and_in_force_here_at_once() {
    let world = World::new(Issuer::jwt(ISSUER));
    let (feed, service, token) = (failing_feed(&world), service(&world), world.jwt());
    assert_eq!(world.status(&token).await, 200);
    let set = event_about_alice(&world);
    for _ in 0..3 {
        assert_eq!(push(&service, &set).await.0, 503);
        assert_eq!(world.status(&token).await, 401);
    }
    feed.set_flush(Flush::Succeeds);
    for _ in 0..2 {
        assert_eq!(push(&service, &set).await.0, 202);
    }
    assert_eq!(feed.published(), [(true, "subject", "alice".to_owned())], "once");
    assert_eq!(feed.flushed(), 1, "flushed before it was published");
}

#[tokio::test(start_paused = true)]
async fn sender_that_gives_up_while_the_others_are_told_undoes_nothing() {
    let world = World::new(Issuer::jwt(ISSUER));
    let (feed, service, token) = (failing_feed(&world), receiver(&world), world.jwt());
    assert_eq!(world.status(&token).await, 200);
    feed.set_flush(Flush::Hangs);
    let logout = logout_of_alice(&world);
    assert!(tokio::time::timeout(3 * SEC, deliver(&service, &logout)).await.is_err());
    assert_eq!(world.status(&token).await, 401);
    assert_eq!((feed.published().len(), service.pending()), (1, 0));
    feed.set_flush(Flush::Succeeds);
    assert_eq!(deliver(&service, &logout).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn logout_whose_keys_come_later_is_published_then() {
    let world = World::new(Issuer::jwt(ISSUER));
    let (feed, service) = (failing_feed(&world), receiver(&world));
    without_keys(&world);
    let logout = logout_of_alice(&world);
    assert_eq!(deliver(&service, &logout).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((feed.published().len(), service.pending()), (0, 1));
    with_keys(&world);
    pass(30).await;
    assert_eq!(feed.published()[0], (true, "subject", "alice".to_owned()));
    assert_eq!(service.pending(), 0);
    // Its sender repeats it.
    assert_eq!(deliver(&service, &logout).await.0, StatusCode::SERVICE_UNAVAILABLE);
    feed.set_flush(Flush::Succeeds);
    assert_eq!(deliver(&service, &logout).await.0, StatusCode::OK);
}

/// Some servers revoke tokens only after they have told so.
#[tokio::test(start_paused = true)]
async fn others_are_told_to_ask_once_more_five_seconds_later() {
    let world = World::new(Issuer::jwt(ISSUER));
    let (feed, service) = (failing_feed(&world), receiver(&world));
    feed.set_flush(Flush::Succeeds);
    assert_eq!(deliver(&service, &logout_of_alice(&world)).await.0, StatusCode::OK);
    let alice = |revokes| (revokes, "subject", "alice".to_owned());
    assert_eq!(feed.published(), [alice(true)]);
    pass(6).await;
    assert_eq!(feed.published(), [alice(true), alice(false)]);
    pass(60).await;
    assert_eq!(feed.published().len(), 2);
}
