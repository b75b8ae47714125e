//! The poll for security events (RFC 8936).

use tokio::time::Instant;

use super::{
    transmitter::{Receiver, event, jti, names},
    *,
};

#[tokio::test]
async fn rfc8936_2_4_events_stay_queued_until_they_are_acknowledged() {
    let server = server();
    let api = Receiver::new(&server, "api");
    server.add_poll_stream("api");
    let sets = [event(&server), event(&server), event(&server)];
    sets.iter().for_each(|set| server.queue_event(set));
    let [first, second, third] = sets.each_ref().map(|set| jti(set));

    let two = json!({"maxEvents": 2});
    let polled = api.poll(two.clone()).await;
    assert_eq!(polled["sets"], json!({&first: sets[0], &second: sets[1]}));
    assert_eq!(polled["moreAvailable"], true);
    assert_eq!(api.poll(two).await, polled, "they were not acknowledged");
    assert_eq!(server.queued_events(), [&*first, &*second, &*third]);

    let error = json!({"err": "invalid_key", "description": "x"});
    let answer = json!({"ack": [first, "unknown"], "setErrs": {&second: error}});
    let polled = api.poll(answer.clone()).await;
    assert_eq!(polled, json!({"sets": {&third: sets[2]}, "moreAvailable": false}));
    api.poll(answer).await;
    assert_eq!(server.acknowledged(), [first]);
    assert_eq!(server.set_errors(), [(second, error)]);

    // No events are requested.
    let polled = api.poll(json!({"maxEvents": 0, "ack": []})).await;
    assert_eq!(polled, json!({"sets": {}, "moreAvailable": true}));
    assert_eq!(server.calls(Endpoint::Poll), 5);
}

#[tokio::test]
async fn malformed_events_can_be_queued() {
    let server = server();
    let api = Receiver::new(&server, "api");
    server.add_poll_stream("api");
    server.queue_event("nonsense");
    server.queue_event(&server.security_event("api").with_defect(Defect::NoJson).mint());
    assert_eq!(names(&api.poll_now().await).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_2_long_poll_waits_for_events() {
    let server = server();
    let api = Receiver::new(&server, "api");
    server.add_poll_stream("api");
    server.set_poll_wait(Duration::from_secs(10));
    let start = Instant::now();
    assert!(names(&api.poll_now().await).is_empty());
    assert!(names(&api.poll(json!({"maxEvents": 0})).await).is_empty());
    assert_eq!(start.elapsed(), Duration::ZERO);

    let polled = api.poll(json!({})).await;
    assert_eq!(polled, json!({"sets": {}, "moreAvailable": false}));
    assert_eq!(start.elapsed(), Duration::from_secs(10));

    let queued = async {
        server.wait_for_calls(Endpoint::Poll, 4).await;
        tokio::time::advance(Duration::from_secs(3)).await;
        server.queue_event(&event(&server));
    };
    let (polled, ()) = tokio::join!(api.poll(json!({})), queued);
    assert_eq!(names(&polled).len(), 1);
    assert_eq!(start.elapsed(), Duration::from_secs(13));
}

#[tokio::test(start_paused = true)]
async fn long_poll_survives_the_end_of_its_stream_and_a_delay() {
    let server = server();
    let api = Receiver::new(&server, "api");
    let id = server.add_poll_stream("api");
    let deleted = async {
        server.wait_for_calls(Endpoint::Poll, 1).await;
        assert_eq!(api.at(Method::DELETE, Endpoint::Streams, &id).await.0, 204);
        server.queue_event(&event(&server));
    };
    let (polled, ()) = tokio::join!(api.poll(json!({})), deleted);
    assert!(names(&polled).is_empty());

    server.add_poll_stream("api");
    server.inject(Endpoint::Poll, Fault::delay(Duration::from_secs(1)).for_next(1));
    let queued = async {
        server.wait_for_calls(Endpoint::Poll, 2).await;
        server.queue_event(&event(&server));
    };
    let (polled, ()) = tokio::join!(api.poll(json!({})), queued);
    assert_eq!(names(&polled).len(), 1);
}

#[tokio::test]
async fn transmitter_works_over_a_socket() {
    let server = server();
    let listening = server.listen().await.unwrap();
    server.add_poll_stream("api");
    let set = event(&server);
    server.queue_event(&set);
    let token = server.opaque().client_id("api").mint();
    let fields = format!("content-type: application/json\r\nauthorization: Bearer {token}\r\n");
    let answer = raw(listening.address(), "POST", "/ssf/poll", &fields, "{}").await;
    assert_eq!(body(&answer)["sets"][jti(&set)], set);
}
