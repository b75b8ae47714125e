//! The state of a feed, as probes and metrics show it.

use bytes::Bytes;
use http::{Request, StatusCode};
use metrics::set_default_local_recorder;
use serde_json::Value;
use tower::ServiceExt as _;
use tower_introspect::{
    Issuer,
    revocation::{FeedState, Revocations},
};

use super::*;
use crate::{
    recorder::MemoryRecorder,
    support::{AUDIENCE, ISSUER},
    world::World,
};

/// A world with keys, and with a feed unless `feed` is `None`.
async fn world(feed: Option<TestFeed>) -> World {
    let world = World::new(Issuer::jwt(ISSUER));
    if let Some(feed) = feed {
        world.api.revocations().connect(Arc::new(feed)).unwrap();
    }
    world.api.warm().await.unwrap();
    world
}

/// Returns `cutoffs` of a probe, which must say that the instance is ready.
async fn probed(world: &World) -> Option<Value> {
    let service = world.api.readiness_service::<Bytes>();
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(body["ready"], true);
    body.get("cutoffs").cloned()
}

#[tokio::test(start_paused = true)]
async fn state_is_that_which_was_set_last_and_behind_at_first() {
    let revocations = Revocations::new();
    let local = revocations.local();
    local.set_state(FeedState::Behind);
    assert_eq!(revocations.feed_state(), None, "there is no feed");
    revocations.connect(Arc::new(TestFeed::default())).unwrap();
    assert_eq!(revocations.feed_state(), Some(FeedState::Behind));
    for state in [FeedState::Current, FeedState::Current, FeedState::Behind] {
        local.set_state(state);
        assert_eq!(revocations.feed_state(), Some(state));
    }
}

#[tokio::test(start_paused = true)]
async fn probe_shows_the_state_of_the_feed_and_it_does_not_change_readiness() {
    for feed in [TestFeed::default(), TestFeed::required()] {
        let world = world(Some(feed)).await;
        let local = world.api.revocations().local();
        assert_eq!(probed(&world).await.unwrap(), "behind");
        local.set_state(FeedState::Current);
        assert_eq!(probed(&world).await.unwrap(), "current");
        local.set_state(FeedState::Behind);
        assert_eq!(probed(&world).await.unwrap(), "behind");
        let brief = world.api.readiness_service::<Bytes>().without_details();
        let response = brief.oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.body(), r#"{"ready":true}"#);
    }
}

#[tokio::test(start_paused = true)]
async fn probe_of_an_instance_without_a_feed_shows_no_state() {
    assert_eq!(probed(&world(None).await).await, None);
}

#[tokio::test(start_paused = true)]
async fn metric_is_one_while_the_feed_is_behind() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let behind = || {
        let series = format!(r#"tower_introspect_cutoff_feed_behind{{resource="{AUDIENCE}"}}"#);
        seen.get(&series)
    };
    world(None).await.api.record_metrics();
    assert_eq!(behind(), None, "there is no feed");
    let world = world(Some(TestFeed::default())).await;
    for (state, value) in
        [(None, 1.0), (Some(FeedState::Current), 0.0), (Some(FeedState::Behind), 1.0)]
    {
        if let Some(state) = state {
            world.api.revocations().local().set_state(state);
        }
        world.api.record_metrics();
        assert_eq!(behind(), Some(value), "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn doubts_and_foreign_cutoffs_are_counted() {
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let revocations = Revocations::new();
    let local = revocations.local();
    for reason in ["reconnected", "trimmed", "reconnected"] {
        local.doubt(reason, SEC);
    }
    local.note_foreign(2);
    local.note_foreign(3);
    let doubts = |reason: &str| {
        let series = format!(r#"tower_introspect_cutoff_feed_doubts_total{{reason="{reason}"}}"#);
        seen.get(&series)
    };
    assert_eq!((doubts("reconnected"), doubts("trimmed")), (Some(2.0), Some(1.0)));
    assert_eq!(seen.get("tower_introspect_cutoff_feed_foreign_total{}"), Some(5.0));
    // Nothing is left to doubt.
    drop(revocations);
    local.doubt("trimmed", SEC);
    assert_eq!(doubts("trimmed"), Some(1.0));
}
