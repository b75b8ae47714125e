//! The number of streams, their shutdown, and faults around them.

use std::{
    pin::Pin,
    sync::mpsc::channel,
    task::{Context, Poll, Waker},
};

use futures_util::{Stream, StreamExt as _};

use super::*;

#[tokio::test(start_paused = true)]
async fn too_many_streams_are_refused_with_a_share_for_each_subject() {
    let world = World::with(|api| api.issuer(local()).max_streams(10));
    let token = |subject: &str| {
        world.server.jwt().subject(subject).audience(AUDIENCE).expires_in(600 * SEC).mint()
    };
    let (greedy, other) = (token("mallory"), token("alice"));
    let mut streams = Vec::new();
    let refused = loop {
        let open = Open::with(&world.api.streams(), bearer(&greedy), PLAIN).await;
        if open.status() != StatusCode::OK {
            break open;
        }
        streams.push(open);
    };
    assert_eq!(streams.len(), 2);
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refusal(&refused), Some(ErrorKind::TooManyStreams));
    assert!(refused.head.headers.contains_key("retry-after"));
    streams.push(open(&world, &other, PLAIN).await);
    // One that ends makes room.
    streams.remove(0);
    settle().await;
    open(&world, &greedy, PLAIN).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_refuses_new_streams_and_ends_those_that_stay() {
    let world = World::new(local());
    let (token, api) = (world.jwt(), world.api.clone());
    let (stays, leaves) = (open(&world, &token, GRPC).await, open(&world, &token, GRPC).await);
    let shutdown = tokio::spawn(async move { api.end_streams(5 * SEC).await });
    settle().await;
    let refused = Open::with(&world.api.streams(), bearer(&token), GRPC).await;
    assert_eq!(refusal(&refused), Some(ErrorKind::TooManyStreams));
    drop(leaves);
    pass(4 * SEC).await;
    assert!(stays.reason().is_none() && !shutdown.is_finished());
    pass(2 * SEC).await;
    assert_eq!(stays.reason(), Some("shut_down"));
    assert!(stays.handler_is_dropped() && shutdown.is_finished());
    assert_eq!(stays.end().unwrap().close_code(), 1001);
}

#[tokio::test(start_paused = true)]
async fn shutdown_of_a_service_without_streams_is_immediate() {
    let world = World::new(local());
    world.api.end_streams(3600 * SEC).await;
}

#[test]
fn runtime_that_ends_takes_its_streams_along() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (world, mut open) = first.block_on(async {
        let world = World::new(local());
        let open = open(&world, &world.jwt(), PLAIN).await;
        (world, open)
    });
    drop(first);
    assert!(open.handler_is_dropped());
    assert_eq!(open.reason(), Some("shut_down"));
    runtime().block_on(async {
        assert_eq!(open.see().await, Seen::Error("shut_down"));
        drop(world);
    });
}

#[tokio::test(start_paused = true)]
async fn request_without_a_token_has_no_lease() {
    let world = World::new(local());
    let layer = world.api.streams().introspect(|introspect| introspect.optional());
    let mut open = Open::with(&layer, Request::new(Bytes::new()), PLAIN).await;
    assert_eq!(open.status(), StatusCode::OK);
    assert!(open.lease.is_none());
    open.send("x");
    assert_eq!(open.see().await, Seen::Data("x".into()));
}

#[tokio::test(start_paused = true)]
async fn disconnected_client_frees_its_lease_while_its_token_is_verified() {
    let world = World::new(remote());
    let open = open(&world, &world.opaque(), PLAIN).await;
    world.server.inject(Endpoint::Introspection, Fault::delay(2 * SEC));
    pass(25 * SEC).await;
    assert_eq!(world.api.leases().open(), 1);
    drop(open);
    assert_eq!(world.api.leases().open(), 0);
    pass(10 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn verifier_that_panics_costs_no_stream_its_watch() {
    let verifier = Scripted::new();
    let introspect =
        IntrospectLayer::new(verifier.clone(), Policy::new(AUDIENCE).clock(verifier.clock.clone()));
    let leases = Leases::new(verifier.clone()).clock(verifier.clock.clone());
    let layer = StreamLayer::new(introspect, leases);
    let open = Open::with(&layer, bearer("abc"), GRPC).await;
    verifier.always(Act::Panic);
    pass(20 * SEC).await;
    assert_eq!(open.reason(), None);
    pass(12 * SEC).await;
    assert_eq!(open.reason(), Some("unverified"));
}

/// A stream whose code blocks or panics.
struct Rude {
    polled: std::sync::mpsc::Sender<()>,
    goes_on: std::sync::mpsc::Receiver<()>,
    panics: bool,
}

impl Stream for Rude {
    type Item = u8;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<u8>> {
        let _ = self.polled.send(());
        let _ = self.goes_on.recv();
        Poll::Ready(Some(1))
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        assert!(!self.panics, "scripted panic");
    }
}

#[tokio::test(start_paused = true)]
async fn stream_that_blocks_or_panics_costs_no_other_its_watch() {
    let world = World::new(local());
    let (alice, bob) = (world.jwt(), world.server.jwt().subject("bob").audience(AUDIENCE).mint());
    let (first, second) = (open(&world, &alice, PLAIN).await, open(&world, &alice, PLAIN).await);
    let (rude, other) = (open(&world, &bob, PLAIN).await, open(&world, &alice, PLAIN).await);
    let revoke = |subject| world.api.revocations().revoke(&Cutoff::subject(ISSUER, subject));
    let ((polled, is_polled), (go_on, goes_on)) = (channel(), channel());
    let mut blocks = rude.lease().guard(Rude { polled, goes_on, panics: false });
    let ((polled, _), (_, goes_on)) = (channel(), channel());
    let _panics = rude.lease().guard(Rude { polled, goes_on, panics: true });
    let blocked = std::thread::spawn(move || {
        let mut cx = Context::from_waker(Waker::noop());
        let before = blocks.poll_next_unpin(&mut cx);
        (before, blocks.poll_next_unpin(&mut cx))
    });
    is_polled.recv().unwrap();
    revoke("bob");
    pass(3 * SEC).await;
    assert_eq!((rude.reason(), first.reason()), (Some("revoked"), None));
    revoke("alice");
    pass(SEC).await;
    for open in [first, second, other] {
        assert!(open.handler_is_dropped() && open.reason() == Some("revoked"));
    }
    go_on.send(()).unwrap();
    assert_eq!(blocked.join().unwrap(), (Poll::Ready(Some(1)), Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn slow_server_of_one_issuer_holds_up_no_other() {
    let world = World::with(|api| api.issuer(remote()));
    let other = "https://other.example.com";
    let second = AuthorizationServer::new(other)
        .with_clock(world.clock.clone())
        .with_client(Client::new("api", "s3cret"));
    let (first, others) = (world.server.transport(), second.transport());
    let api = ResourceServer::builder(AUDIENCE)
        .clock(world.clock.clone())
        .issuer(remote().token_prefix("a-").configure_introspection(|one| one.transport(first)))
        .issuer(
            Issuer::introspect(other, auth())
                .token_prefix("b-")
                .configure_introspection(|one| one.transport(others)),
        )
        .build()
        .unwrap();
    let mut hanging = Vec::new();
    for n in 0..200 {
        let token = world.server.opaque().text(&format!("a-{n}")).subject(&n.to_string());
        hanging.push(open_at(&api, &token.audience(AUDIENCE).mint(), GRPC).await);
    }
    let token = second.opaque().text("b-1").audience(AUDIENCE).mint();
    let going = open_at(&api, &token, GRPC).await;
    world.server.inject(Endpoint::Introspection, Fault::hang());
    pass(2 * MAX_AGE).await;
    assert!(hanging.iter().all(|open| open.reason() == Some("unverified")));
    assert_eq!(going.reason(), None);
}
