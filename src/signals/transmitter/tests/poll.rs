use super::*;

#[tokio::test(start_paused = true)]
async fn rfc8936_2_4_first_poll_gets_what_is_queued_and_later_ones_wait_for_events() {
    let (script, events_) = (Script::new([ok(&events(&["a"]))]), Arc::default());
    let (seen, state) = script.poll_for(&events_, 30).await;
    assert_eq!(seen[0].target, "POST /poll");
    assert_eq!(seen[0].auth, "Bearer t0");
    assert_eq!(seen[0].body, json!({ "maxEvents": 100, "returnImmediately": true }));
    let second = json!({ "maxEvents": 100, "returnImmediately": false, "ack": ["a"] });
    assert_eq!(seen[1].body, second);
    assert_eq!(events_.received(), ["a"]);
    assert!(state.failing().is_none());
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_4_4_only_what_was_applied_is_acknowledged() {
    let answer = ok(&events(&["a", "bad", "wait", "z"]));
    let (seen, _) = Script::new([answer]).poll_for(&Arc::default(), 30).await;
    assert!(!seen[0].language);
    assert_eq!(acks(&seen[1]), ["a", "z"]);
    let errors = json!({ "bad": { "err": "invalid_issuer", "description": "of another issuer" } });
    assert_eq!(seen[1].body["setErrs"], errors);
    assert!(seen[1].language, "descriptions have a language");
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_4_set_applied_before_a_crash_is_sent_again_and_acknowledged_then() {
    let (script, receiver) = (Script::new([ok(&events(&["a"]))]), Arc::default());
    let state = state();
    // The process ends before the transmitter has read the acknowledgement.
    let crash = tokio::spawn(script.poller(&receiver, &state).run(pending()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    crash.abort();
    assert!(crash.await.unwrap_err().is_cancelled());
    let after = Script::new([ok(&events(&["a"])), ok(&events(&[]))]);
    let poller = after.poller(&receiver, &state);
    poller.run(tokio::time::sleep(Duration::from_secs(9))).await;
    assert_eq!(receiver.received(), ["a", "a"]);
    let seen = after.seen();
    assert_eq!((acks(&seen[0]), acks(&seen[1])), (vec![], vec!["a"]));
    assert!(acks(&seen[2]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_4_outcomes_are_told_until_a_poll_succeeds() {
    let script = Script::new([
        ok(&events(&["a", "bad"])),
        empty(503),
        Answer::Closes,
        Answer::Closes,
        ok(&events(&[])),
    ]);
    let (seen, _) = script.poll_for(&Arc::default(), 60).await;
    // A closed connection has each poll sent twice.
    for told in &seen[1..5] {
        assert_eq!(acks(told), ["a"]);
        assert!(told.body["setErrs"]["bad"].is_object());
    }
    for after in &seen[5..] {
        assert!(after.body.get("ack").is_none() && after.body.get("setErrs").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_6_set_with_another_jti_than_its_key_is_refused() {
    let receiver = Arc::default();
    let answer = json!({ "sets": { "a": set("b"), "c": 7, "d": set("d") } });
    let (seen, _) = Script::new([ok(&answer)]).poll_for(&receiver, 30).await;
    assert_eq!(receiver.received(), ["d"]);
    assert_eq!(acks(&seen[1]), ["d"]);
    for jti in ["a", "c"] {
        assert_eq!(seen[1].body["setErrs"][jti]["err"], "invalid_request", "{jti}");
    }
    assert!(seen[1].body["setErrs"].get("b").is_none());
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_4_what_was_never_sent_is_never_acknowledged() {
    let script = Script::new([
        ok(&json!({ "sets": sets(&["a", "wait1"]), "ack": ["x"], "setErrs": { "y": {} } })),
        ok(&events(&["wait1", "bad"])),
        ok(&json!({ "sets": { "p": set("q") } })),
        empty(500),
    ]);
    let (seen, _) = script.poll_for(&Arc::default(), 300).await;
    let told: Vec<_> = seen.iter().flat_map(acks).collect();
    assert!(told.iter().all(|jti| *jti == "a"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_2_more_sets_than_asked_for_are_left_for_the_next_poll() {
    let (receiver, state) = (Arc::<Events>::default(), state());
    let script = Script::new([ok(&events(&["a", "b", "c", "d", "e"]))]);
    let poller = script.poller(&receiver, &state).max_events(2);
    poller.run(tokio::time::sleep(Duration::from_secs(9))).await;
    assert_eq!(receiver.received(), ["a", "b"]);
    let seen = script.seen();
    assert_eq!(seen[0].body["maxEvents"], 2);
    assert_eq!(acks(&seen[1]), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_5_members_that_are_null_are_absent() {
    for body in [json!({ "sets": null, "moreAvailable": null }), json!({}), json!({ "sets": {} })] {
        let (seen, state) = Script::new([ok(&body)]).poll_for(&Arc::default(), 9).await;
        assert_eq!(seen.len(), 2, "{body}");
        assert!(state.failing().is_none(), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn transmitter_that_does_not_wait_is_polled_at_intervals() {
    let script = Script::new([]).then_always(|| ok(&events(&[])));
    let (seen, _) = script.poll_for(&Arc::default(), 60).await;
    // At once, the first long poll, and each five seconds.
    assert!((12..=14).contains(&seen.len()), "{}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_5_more_available_for_ever_without_events_is_backed_off() {
    let script = Script::new([]).then_always(|| ok(&json!({ "sets": {}, "moreAvailable": true })));
    let (seen, _) = script.poll_for(&Arc::default(), 600).await;
    assert!(seen.len() < 20, "{}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn transmitter_that_ignores_acknowledgements_is_backed_off() {
    let script = Script::new([])
        .then_always(|| ok(&json!({ "sets": sets(&["a", "bad"]), "moreAvailable": true })));
    let (seen, _) = script.poll_for(&Arc::default(), 600).await;
    assert!(seen.len() < 20, "{}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn sets_whose_keys_are_missing_are_neither_acknowledged_nor_refused_nor_asked_for_at_once() {
    let (script, receiver) = (Script::new([]), Arc::default());
    let script = script.then_always(|| ok(&events(&["wait"])));
    let (seen, state) = script.poll_for(&receiver, 600).await;
    assert!((5..20).contains(&seen.len()), "{}", seen.len());
    assert!(seen.iter().all(|it| it.body.get("ack").or(it.body.get("setErrs")).is_none()));
    assert_eq!(receiver.received().len(), seen.len());
    assert!(state.failing().is_none());
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_4_2_shutdown_acknowledges_what_was_applied() {
    let script = Script::new([ok(&events(&["a", "bad"])), Answer::Hangs, ok(&events(&["b"]))]);
    let receiver = Arc::default();
    let (seen, _) = script.poll_for(&receiver, 20).await;
    assert_eq!(seen.len(), 3);
    let (last, errors) =
        (&seen[2], json!({ "err": "invalid_issuer", "description": "of another issuer" }));
    let expected = json!({
        "maxEvents": 0, "returnImmediately": true, "ack": ["a"], "setErrs": { "bad": errors },
    });
    assert_eq!(last.body, expected);
    assert!((last.at - 20.0).abs() < 0.1, "{}", last.at);
    assert_eq!(receiver.received(), ["a", "bad"], "nothing is taken after shutdown");
}

#[tokio::test(start_paused = true)]
async fn shutdown_takes_at_most_five_seconds_and_sends_nothing_without_need() {
    let start = Moment::now(&SystemClock);
    let (seen, _) = Script::new([ok(&events(&["a"]))]).poll_for(&Arc::default(), 20).await;
    assert_eq!(seen.len(), 3);
    let took = Moment::now(&SystemClock).monotonic_since(start).as_secs_f64();
    assert!((took - 25.0).abs() < 0.1, "{took}");
    let (seen, _) = Script::new([ok(&events(&[]))]).poll_for(&Arc::default(), 20).await;
    assert_eq!(seen.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn second_poller_of_a_receiver_is_refused_until_the_first_has_ended() {
    let (script, receiver, state) = (Script::new([]), Arc::<Events>::default(), state());
    let first = script.poller(&receiver, &state);
    let stream = script.streams().stream("s1");
    let again = || Poller::new(&stream, POLL_URL, Arc::clone(&receiver) as _, &state);
    assert!(again().unwrap_err().to_string().contains("has a poller already"));
    first.run(tokio::time::sleep(Duration::from_secs(1))).await;
    assert!(again().is_ok());
    let plain = "http://tr.example.com/poll";
    assert!(Poller::new(&stream, plain, Arc::clone(&receiver) as _, &state).is_err());
    assert!(again().is_ok(), "a poller that could not be created is none");
}

#[test]
fn tasks_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let (script, state) = (Script::new([]), state());
    is_send(&script.poller(&Arc::default(), &state).run(pending()));
}
