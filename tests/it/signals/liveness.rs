//! Signals are stale unless their transmitter shows that they arrive.

use serde_json::json;
use tokio::time::advance;
use tower_introspect::{
    signals::{EventService, Transmitter},
    test_util::{AuthorizationServer, Endpoint, Fault},
    verify::SignalState,
};

use super::{
    push::{push, transmitter},
    *,
};

const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
const RECEIVER: &str = "https://api.example.com/events";

fn state(world: &World) -> Option<SignalState> {
    world.api.readiness()[0].signals()
}

fn within(world: &World, seconds: u32) -> EventService<Full<Bytes>> {
    let transmitter = transmitter().verified_within(seconds * SEC);
    world.api.receive_events(&transmitter).unwrap().push_service()
}

fn verification(world: &World, payload: Value) -> String {
    let stream = json!({"format": "opaque", "id": "stream"});
    let set = world.server.security_event(RECEIVER).subject_id(stream);
    set.event(VERIFICATION, payload).mint()
}

#[tokio::test(start_paused = true)]
async fn signals_are_fresh_for_as_long_as_verification_events_come() {
    let world = World::new(Issuer::jwt(ISSUER));
    assert_eq!(state(&world), None);
    let service = within(&world, 600);
    assert_eq!(state(&world), Some(SignalState::Stale));
    let first = verification(&world, json!({}));
    assert_eq!(push(&service, &first).await.0, 202);
    assert_eq!(state(&world), Some(SignalState::Fresh));
    advance(599 * SEC).await;
    world.clock.step(599 * SEC);
    assert_eq!(state(&world), Some(SignalState::Fresh));
    advance(2 * SEC).await;
    world.clock.step(2 * SEC);
    assert_eq!(state(&world), Some(SignalState::Stale));
    // The first one again shows nothing.
    assert_eq!(push(&service, &first).await.0, 202);
    assert_eq!(state(&world), Some(SignalState::Stale));
    assert_eq!(push(&service, &verification(&world, json!({}))).await.0, 202);
    assert_eq!(state(&world), Some(SignalState::Fresh));
    // Without a receiver nobody expects any.
    drop(service);
    assert_eq!(state(&world), None);
}

#[tokio::test(start_paused = true)]
async fn old_verification_event_shows_nothing() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = within(&world, 600);
    let old = verification(&world, json!({}));
    advance(700 * SEC).await;
    world.clock.step(700 * SEC);
    assert_eq!(push(&service, &old).await.0, 202);
    assert_eq!(state(&world), Some(SignalState::Stale));
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_4_state_that_nobody_asked_for_is_refused() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = within(&world, 600);
    let set = verification(&world, json!({"state": "made up"}));
    let (status, told) = push(&service, &set).await;
    assert_eq!((status, &*told), (400, "invalid_state: The state is not that of a request."));
    assert_eq!(state(&world), Some(SignalState::Stale));
}

#[tokio::test(start_paused = true)]
async fn paused_and_disabled_streams_make_signals_stale_whatever_the_order() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = within(&world, 600);
    push(&service, &verification(&world, json!({}))).await;
    let updated = |status: &str| {
        world.clock.step(SEC);
        world.server.security_event(RECEIVER).stream_updated(status).mint()
    };
    let (paused, enabled, disabled) = (updated("paused"), updated("enabled"), updated("disabled"));
    push(&service, &paused).await;
    assert_eq!(state(&world), Some(SignalState::Stale));
    push(&service, &disabled).await;
    push(&service, &enabled).await;
    assert_eq!(state(&world), Some(SignalState::Stale), "it was disabled later");
    push(&service, &updated("enabled")).await;
    assert_eq!(state(&world), Some(SignalState::Fresh));
}

#[tokio::test(start_paused = true)]
async fn lost_event_makes_the_signals_of_every_issuer_stale_that_its_transmitter_speaks_for() {
    const EVENTS: &str = "https://events.example.com";
    let world = World::new(Issuer::jwt(ISSUER));
    let sender = AuthorizationServer::new(EVENTS).with_clock(world.clock.clone());
    sender.inject(Endpoint::SsfConfiguration, Fault::status(StatusCode::BAD_GATEWAY));
    let transmitter = Transmitter::new(EVENTS, RECEIVER).speaks_for(ISSUER);
    let receiver = world.api.receive_events(&transmitter.transport(sender.transport())).unwrap();
    let service = receiver.push_service();
    for n in 0..128 {
        let set = sender.security_event(RECEIVER).of_subject(&n.to_string()).session_revoked();
        assert_eq!(push(&service, &set.mint()).await.0, 503);
    }
    assert_eq!((receiver.pending(), state(&world)), (128, None));
    let set = sender.security_event(RECEIVER).of_subject("one more").session_revoked();
    assert_eq!(push(&service, &set.mint()).await.0, 503);
    assert_eq!((receiver.pending(), state(&world)), (128, Some(SignalState::Stale)));
}
