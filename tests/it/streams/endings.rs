//! The end of a stream as its client sees it.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;

use std::convert::Infallible;

use http::Response;
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_introspect::stream::{GuardedBody, StreamEnd};

use super::{open::Feed, *};

#[tokio::test(start_paused = true)]
async fn stream_ends_when_its_token_expires() {
    let world = World::new(local());
    let leeway = 30 * SEC;
    for (content_type, expected) in [
        (GRPC, Seen::Status("16".into(), true)),
        (SSE, Seen::Clean),
        (PLAIN, Seen::Error("expired")),
    ] {
        let token = world.server.jwt().audience(AUDIENCE).expires_in(60 * SEC).mint();
        let mut open = open(&world, &token, content_type).await;
        open.send("data: 1\n\n");
        assert_eq!(open.see().await, Seen::Data("data: 1\n\n".into()));
        pass(60 * SEC + leeway - SEC).await;
        assert_eq!(open.see().await, Seen::Nothing, "{content_type}: too early");
        assert!(!open.handler_is_dropped());
        pass(2 * SEC).await;
        assert!(open.handler_is_dropped(), "{content_type}");
        assert_eq!(open.see().await, expected);
        assert_eq!(open.see().await, Seen::Clean);
    }
    assert_eq!(world.api.leases().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn cutoff_ends_streams_at_once_also_while_the_peer_reads_nothing() {
    let world = World::new(local());
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(open(&world, &world.jwt(), PLAIN).await);
    }
    pass(SEC).await;
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    settle().await;
    advance(Duration::from_millis(20)).await;
    settle().await;
    for open in &mut streams {
        // Nobody has polled the body.
        assert!(open.handler_is_dropped());
        assert_eq!(open.see().await, Seen::Error("revoked"));
    }
    assert_eq!(world.api.leases().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn cutoff_that_comes_between_the_admission_and_the_lease_ends_the_stream_at_once() {
    let world = World::new(local());
    let permits = Arc::new(Semaphore::new(1));
    let layers = tower::ServiceBuilder::new()
        .layer(world.api.streams())
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&permits)))
        .into_inner();
    world.server.inject(Endpoint::Jwks, Fault::delay(SEC));
    let token = world.jwt();
    let request = tokio::spawn(async move { Open::with(&layers, bearer(&token), PLAIN).await });
    settle().await;
    // The handlers are busy when the token is found good.
    let permit = permits.acquire().await.unwrap();
    pass(SEC + SEC / 5).await;
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    pass(SEC / 5).await;
    drop(permit);
    settle().await;
    let open = request.await.unwrap();
    settle().await;
    advance(Duration::from_millis(20)).await;
    settle().await;
    assert_eq!(open.reason(), Some("revoked"));
}

#[tokio::test(start_paused = true)]
async fn retired_key_ends_the_streams_of_its_tokens_and_no_others() {
    let world = World::new(local());
    let old = open(&world, &world.jwt(), GRPC).await;
    pass(11 * SEC).await;
    world.server.rotate_keys();
    world.server.remove_old_keys();
    let new = open(&world, &world.jwt(), GRPC).await;
    pass(SEC).await;
    assert_eq!(old.reason(), Some("unknown_key"));
    assert_eq!(new.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn stream_has_a_maximum_life() {
    let world = World::new(local());
    let layer = world.api.streams().max_life(100 * SEC);
    let mut open = Open::with(&layer, bearer(&world.jwt()), GRPC).await;
    pass(99 * SEC).await;
    assert_eq!(open.see().await, Seen::Nothing);
    pass(2 * SEC).await;
    assert_eq!(open.see().await, Seen::Status("14".into(), false));
    assert!(matches!(open.end().unwrap().cause(), EndCause::MaxLife));

    // A token that names no expiry: an hour.
    let world = World::new(remote());
    let token = world.server.opaque().audience(AUDIENCE).without("exp").mint();
    let open = open_at(&world.api, &token, GRPC).await;
    pass(3599 * SEC).await;
    assert_eq!(open.reason(), None);
    pass(2 * SEC).await;
    assert_eq!(open.reason(), Some("max_life"));
}

#[tokio::test(start_paused = true)]
async fn event_is_sent_whole_before_the_stream_ends() {
    let world = World::new(local());
    let mut open = open(&world, &world.jwt(), SSE).await;
    open.send("data: one\n\ndata: ");
    assert_eq!(open.see().await, Seen::Data("data: one\n\ndata: ".into()));
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    pass(Duration::from_millis(200)).await;
    assert!(open.end().is_some() && !open.handler_is_dropped());
    open.send("two\n\ndata: three\n\n");
    assert_eq!(open.see().await, Seen::Data("two\n\n".into()));
    assert!(open.handler_is_dropped());
    assert_eq!(open.see().await, Seen::Clean);
}

#[tokio::test(start_paused = true)]
async fn event_that_does_not_end_within_a_second_ends_with_an_error() {
    let world = World::new(local());
    let mut open = open(&world, &world.jwt(), SSE).await;
    open.send("data: ");
    assert_eq!(open.see().await, Seen::Data("data: ".into()));
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    pass(SEC + Duration::from_millis(200)).await;
    assert!(open.handler_is_dropped(), "although nobody polls");
    assert_eq!(open.see().await, Seen::Error("revoked"));
}

#[tokio::test(start_paused = true)]
async fn last_event_is_sent_if_it_was_asked_for() {
    let world = World::new(local());
    let layer = world.api.streams().last_event("bye");
    let mut open = Open::with(&layer, bearer(&world.jwt()), SSE).await;
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    pass(SEC).await;
    assert_eq!(open.see().await, Seen::Data("event: bye\ndata: revoked\n\n".into()));
    assert_eq!(open.see().await, Seen::Clean);
}

#[tokio::test(start_paused = true)]
async fn grpc_web_ends_with_a_frame_of_trailers() {
    let world = World::new(local());
    for content_type in ["application/grpc-web+proto", "application/grpc-web-text"] {
        let mut open = open(&world, &world.jwt(), content_type).await;
        open.send("\0\0\0\0\x01x");
        assert!(matches!(open.see().await, Seen::Data(_)));
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
        pass(SEC).await;
        let Seen::Data(last) = open.see().await else { panic!("{content_type}") };
        if content_type.ends_with("text") {
            assert!(last.starts_with('g'), "the flag in base64: {last}");
        } else {
            assert!(last.contains("grpc-status: 16\r\n") && last.contains("www-authenticate: "));
        }
        assert_eq!(open.see().await, Seen::Clean);
        pass(SEC).await;
    }
    // In the middle of a message there is no clean end.
    let mut open = open(&world, &world.jwt(), "application/grpc-web").await;
    open.send("\0\0\0\0\x09x");
    assert!(matches!(open.see().await, Seen::Data(_)));
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    pass(SEC).await;
    assert_eq!(open.see().await, Seen::Error("revoked"));
}

#[tokio::test(start_paused = true)]
async fn trailers_of_the_handler_are_the_end() {
    let world = World::new(local());
    let mut open = open(&world, &world.jwt(), GRPC).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    open.send_trailers(trailers);
    assert_eq!(open.see().await, Seen::Status("0".into(), false));
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    pass(SEC).await;
    assert_eq!(open.see().await, Seen::Clean);
}

#[tokio::test(start_paused = true)]
async fn handler_that_ends_at_the_same_instant_is_seen_once() {
    let world = World::new(local());
    let mut open = open(&world, &world.jwt(), GRPC).await;
    open.handler = None;
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    pass(SEC).await;
    assert_eq!(open.see().await, Seen::Status("16".into(), true));
    assert_eq!(open.see().await, Seen::Clean);
}

#[tokio::test(start_paused = true)]
async fn waiting_reader_is_woken_by_the_end() {
    let world = World::new(local());
    let mut open = open(&world, &world.jwt(), GRPC).await;
    let lease = open.lease().clone();
    let reader = tokio::spawn(async move { open.next().await });
    let waiter = tokio::spawn(async move { lease.ended().await.close_code() });
    settle().await;
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    assert_eq!(reader.await.unwrap(), Seen::Status("16".into(), true));
    assert_eq!(waiter.await.unwrap(), 1008);
}

#[tokio::test(start_paused = true)]
async fn clock_that_jumps_ends_expired_streams_and_no_others() {
    let world = World::new(local());
    let short = world.server.jwt().audience(AUDIENCE).expires_in(600 * SEC).mint();
    let long = world.server.jwt().audience(AUDIENCE).expires_in(36_000 * SEC).mint();
    let (ended, going) = (open(&world, &short, GRPC).await, open(&world, &long, GRPC).await);
    world.clock.step(3600 * SEC);
    pass(11 * SEC).await;
    assert_eq!((ended.reason(), going.reason()), (Some("expired"), None));
    // A step back does not bring a stream back, and ends none.
    world.clock.step_back(3600 * SEC);
    pass(11 * SEC).await;
    assert_eq!((ended.reason(), going.reason()), (Some("expired"), None));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_streams_are_revoked_at_once() {
    let world = World::new(local());
    let token = world.jwt();
    let other = world.server.jwt().subject("bob").audience(AUDIENCE).mint();
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        streams.push(open(&world, &token, PLAIN).await);
    }
    let going = open(&world, &other, PLAIN).await;
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    pass(SEC).await;
    assert!(streams.iter().all(Open::handler_is_dropped));
    assert_eq!((going.reason(), world.api.leases().open()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn token_that_expired_within_the_leeway_has_the_rest_of_it() {
    let world = World::new(local());
    let token = world.server.jwt().audience(AUDIENCE).expires_in(SEC).mint();
    pass(11 * SEC).await;
    let mut open = open(&world, &token, GRPC).await;
    pass(18 * SEC).await;
    assert_eq!(open.see().await, Seen::Nothing);
    pass(3 * SEC).await;
    assert_eq!(open.see().await, Seen::Status("16".into(), true));
    let refused = Open::with(&world.api.streams(), bearer(&token), GRPC).await;
    assert_eq!(refusal(&refused), Some(ErrorKind::Expired));
}

#[tokio::test(start_paused = true)]
async fn peer_that_trickles_gets_no_frame_after_the_end() {
    let world = World::new(local());
    let token = world.server.jwt().audience(AUDIENCE).expires_in(10 * SEC).mint();
    let mut open = open(&world, &token, PLAIN).await;
    for _ in 0..100 {
        open.send("x");
    }
    for _ in 0..39 {
        assert_eq!(open.see().await, Seen::Data("x".into()));
        pass(SEC).await;
    }
    pass(2 * SEC).await;
    assert!(open.handler_is_dropped(), "with what it had left to send");
    assert_eq!(open.see().await, Seen::Error("expired"));
}

#[tokio::test(start_paused = true)]
async fn request_body_of_another_type_ends_with_its_token() {
    let world = World::new(local());
    let layer = world.api.streams().guard_typed_requests();
    let handler = service_fn(async |request: Request<GuardedBody<Feed>>| {
        let error = request.into_body().collect().await.map(drop).expect_err("it never ends");
        let end = error.downcast_ref::<StreamEnd>().expect("the end of the stream");
        Ok::<_, Infallible>(Response::new(Full::from(end.reason())))
    });
    let (parts, _) = bearer(&world.jwt()).into_parts();
    let (_sender, feed) = Feed::pair();
    let call = tokio::spawn(layer.layer(handler).oneshot(Request::from_parts(parts, feed)));
    settle().await;
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    let response = call.await.unwrap().unwrap();
    // It had not begun, so the client gets the refusal.
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}
