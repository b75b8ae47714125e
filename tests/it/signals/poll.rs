//! Security events that are fetched from a transmitter (RFC 8936, SSF 1.0).

use std::{convert::Infallible, future::pending};

use tokio::{sync::oneshot, task::JoinHandle, time::advance};
use tower_introspect::{
    ClientAuth,
    signals::{
        EventReceiver, EventStream, EventStreams, Poller, StreamRequest, Transmitter,
        TransmitterAuth,
    },
    test_util::{Client, Endpoint, Fault},
    verify::SignalState,
};

use super::{shared::failing_feed, *};
use crate::shared::Flush;

/// The audience that the transmitter gives to a stream of this client.
const RECEIVER: &str = "poller";

struct Polled {
    world: World,
    receiver: EventReceiver,
    streams: EventStreams,
}

impl Polled {
    fn new(issuer: Issuer) -> Self {
        let world = World::new(issuer);
        world.server.register(Client::new(RECEIVER, "s3cret").with_audience(ISSUER));
        let transmitter = Transmitter::new(ISSUER, RECEIVER);
        let transmitter = transmitter.verified_within(600 * SEC);
        let receiver = world.api.receive_events(&transmitter).unwrap();
        let token = world.server.url(Endpoint::Token);
        let auth = ClientAuth::basic(RECEIVER, "s3cret");
        let auth = TransmitterAuth::client_credentials(token, auth, None);
        let streams = receiver.streams(auth).unwrap();
        Self { world, receiver, streams }
    }

    async fn stream(&self) -> (EventStream, Poller) {
        let created = self.streams.create(&StreamRequest::poll()).await.unwrap();
        let stream = self.streams.stream(created.stream_id());
        let poller = self.receiver.poller(&stream, created.endpoint_url().unwrap()).unwrap();
        (stream, poller)
    }

    fn revoke(&self, subject: &str) {
        let set = self.world.server.security_event(RECEIVER).of_subject(subject);
        self.world.server.queue_event(&set.session_revoked().mint());
    }

    fn in_force(&self) -> usize {
        self.world.api.revocations().len()
    }

    fn state(&self) -> Option<SignalState> {
        self.world.api.readiness()[0].signals()
    }
}

fn run(poller: Poller) -> (JoinHandle<()>, oneshot::Sender<Infallible>) {
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(poller.run(async {
        let _ = stopped.await;
    }));
    (task, stop)
}

/// Lets time pass by both clocks, and tasks run.
async fn step(world: &World, seconds: u32) {
    for _ in 0..10 * seconds {
        advance(SEC / 10).await;
        world.clock.step(SEC / 10);
        for _ in 0..30 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_in_force_before_they_are_acknowledged() {
    let polled = Polled::new(Issuer::jwt(ISSUER));
    let token = polled.world.jwt();
    let (_, poller) = polled.stream().await;
    polled.revoke("alice");
    let (_task, _stop) = run(poller);
    step(&polled.world, 1).await;
    assert_eq!(polled.world.status(&token).await, 401);
    step(&polled.world, 60).await;
    assert_eq!(polled.world.server.acknowledged().len(), 1);
    assert!(polled.world.server.queued_events().is_empty());
    // Another one ends the long poll.
    polled.revoke("bob");
    step(&polled.world, 1).await;
    assert_eq!(polled.in_force(), 2);
}

#[tokio::test(start_paused = true)]
async fn second_poller_of_a_receiver_is_refused() {
    let polled = Polled::new(Issuer::jwt(ISSUER));
    let (stream, poller) = polled.stream().await;
    let again = || polled.receiver.poller(&stream, &polled.world.server.url(Endpoint::Poll));
    assert!(again().is_err());
    drop(poller);
    assert!(again().is_ok());
}

#[tokio::test(start_paused = true)]
async fn bad_events_are_reported_and_the_good_ones_among_them_are_in_force() {
    let polled = Polled::new(Issuer::jwt(ISSUER));
    let server = &polled.world.server;
    let (_, poller) = polled.stream().await;
    polled.revoke("alice");
    let set = || server.security_event(RECEIVER).of_subject("x").session_revoked();
    for bad in [set().claim("iss", "https://x"), set().claim("aud", "x"), set().unsigned()] {
        server.queue_event(&bad.mint());
    }
    polled.revoke("bob");
    let (_task, _stop) = run(poller);
    step(&polled.world, 70).await;
    assert_eq!((polled.in_force(), server.acknowledged().len()), (2, 2));
    let mut codes: Vec<_> =
        server.set_errors().into_iter().map(|(_, error)| error["err"].clone()).collect();
    codes.sort_by_key(ToString::to_string);
    assert_eq!(codes, ["invalid_audience", "invalid_issuer", "invalid_key"]);
}

#[tokio::test(start_paused = true)]
async fn event_without_keys_stays_with_the_transmitter() {
    let polled = Polled::new(Issuer::jwt(ISSUER));
    let server = &polled.world.server;
    let (_, poller) = polled.stream().await;
    without_keys(&polled.world);
    polled.revoke("alice");
    let (_task, _stop) = run(poller);
    step(&polled.world, 120).await;
    assert_eq!((polled.in_force(), server.queued_events().len()), (0, 1));
    assert!(server.acknowledged().is_empty() && server.set_errors().is_empty());
    with_keys(&polled.world);
    step(&polled.world, 150).await;
    assert_eq!((polled.in_force(), server.acknowledged().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn event_is_acknowledged_when_the_other_instances_can_learn_of_it() {
    let polled = Polled::new(Issuer::jwt(ISSUER));
    let (server, token) = (&polled.world.server, polled.world.jwt());
    let feed = failing_feed(&polled.world);
    let (_, poller) = polled.stream().await;
    polled.revoke("alice");
    let (_task, _stop) = run(poller);
    step(&polled.world, 1).await;
    assert_eq!(polled.world.status(&token).await, 401);
    step(&polled.world, 120).await;
    assert_eq!((polled.in_force(), server.queued_events().len()), (1, 1));
    assert!(server.acknowledged().is_empty() && server.set_errors().is_empty());
    feed.set_flush(Flush::Succeeds);
    // The longest pause between polls, and a long poll.
    step(&polled.world, 130).await;
    assert_eq!((server.acknowledged().len(), server.queued_events().len()), (1, 0));
    let revoked = feed.published().into_iter().filter(|(revokes, ..)| *revokes);
    assert_eq!(revoked.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn transmitter_that_is_away_makes_signals_stale_and_loses_none() {
    let polled = Polled::new(Issuer::jwt(ISSUER));
    let server = &polled.world.server;
    let (stream, poller) = polled.stream().await;
    let configuration = stream.read().await.unwrap();
    let verification = polled.receiver.verification_task(&stream, &configuration, 120 * SEC);
    assert_eq!(polled.state(), Some(SignalState::Stale));
    let (_task, _stop) = run(poller);
    tokio::spawn(verification.run(pending()));
    step(&polled.world, 5).await;
    assert_eq!(polled.state(), Some(SignalState::Fresh));
    step(&polled.world, 1200).await;
    assert_eq!(polled.state(), Some(SignalState::Fresh));
    server.inject(Endpoint::Poll, Fault::status(StatusCode::BAD_GATEWAY));
    // The long poll that is under way ends.
    step(&polled.world, 60).await;
    polled.revoke("alice");
    step(&polled.world, 130).await;
    assert_eq!((polled.in_force(), polled.state()), (0, Some(SignalState::Stale)));
    server.clear(Endpoint::Poll);
    // Pauses are a fifth longer at most.
    step(&polled.world, 75).await;
    assert_eq!((polled.in_force(), polled.state()), (1, Some(SignalState::Fresh)));
}

#[tokio::test(start_paused = true)]
async fn poller_that_stops_acknowledges_what_is_in_force() {
    let polled = Polled::new(Issuer::jwt(ISSUER));
    let (_, poller) = polled.stream().await;
    polled.world.server.set_poll_wait(3600 * SEC);
    let (task, stop) = run(poller);
    polled.revoke("alice");
    step(&polled.world, 1).await;
    drop(stop);
    step(&polled.world, 6).await;
    task.await.unwrap();
    assert_eq!((polled.in_force(), polled.world.server.acknowledged().len()), (1, 1));
}
