use super::{super::error::TransmitterErrorKind, *};

/// Returns the seconds between one request and the next.
fn pauses(seen: &[Seen]) -> Vec<f64> {
    seen.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[tokio::test(start_paused = true)]
async fn failed_polls_are_repeated_after_growing_pauses() {
    let script = Script::new([]).then_always(|| empty(500));
    let (seen, state) = script.poll_for(&Arc::default(), 300).await;
    for (pause, middle) in pauses(&seen).into_iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]) {
        assert!(pause > middle * 0.79 && pause < middle * 1.21, "{pause} for {middle}");
    }
    assert!(seen.len() >= 7);
    assert!(seen.iter().all(|it| it.body["returnImmediately"] == true));
    let (kind, since) = state.failing().unwrap();
    assert_eq!(kind, TransmitterErrorKind::Unavailable);
    assert!(since.is_before(Moment::now(&SystemClock)));
}

#[tokio::test(start_paused = true)]
async fn success_ends_the_growth_of_the_pauses() {
    let fails = || empty(500);
    let answers = [fails(), fails(), fails(), ok(&events(&["a"])), fails(), ok(&events(&[]))];
    let (seen, state) = Script::new(answers).poll_for(&Arc::default(), 60).await;
    let pauses = pauses(&seen);
    assert!(pauses[2] > 3.0 && pauses[3] < 0.1 && pauses[4] < 1.3, "{pauses:?}");
    assert!(state.failing().is_none());
}

#[tokio::test(start_paused = true)]
async fn rfc9110_10_2_3_retry_after_is_honored_up_to_five_minutes() {
    let busy = |after| Answer::Of(429, vec![("retry-after", after)], String::new());
    let script = Script::new([busy("120"), busy("86400"), busy("0")]);
    let (seen, _) = script.poll_for(&Arc::default(), 900).await;
    let pauses = pauses(&seen);
    assert!((pauses[0] - 120.0).abs() < 0.1 && (pauses[1] - 300.0).abs() < 0.1, "{pauses:?}");
    assert!(pauses[2] < 5.0, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_4_long_poll_ends_after_its_time_and_a_short_one_tells_whether_it_failed() {
    let script = Script::new([ok(&events(&[])), Answer::Hangs, ok(&events(&[])), Answer::Hangs]);
    let (receiver, state) = (Arc::<Events>::default(), state());
    let poller = script.poller(&receiver, &state);
    let running = tokio::spawn(poller.run(tokio::time::sleep(Duration::from_secs(200))));
    tokio::time::sleep(Duration::from_secs(145)).await;
    let seen = script.seen();
    let shape: Vec<_> = seen.iter().map(|it| it.body["returnImmediately"] == true).collect();
    assert_eq!(shape, [true, false, true, false, true]);
    assert!((pauses(&seen)[1] - 70.0).abs() < 0.1 && pauses(&seen)[2] < 0.1);
    assert!(state.failing().is_none());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(state.failing().is_some(), "the short poll has no response either");
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rejected_access_token_is_renewed_once_for_each_poll() {
    let script = Script::new([empty(401), ok(&events(&["a"])), empty(401), empty(401)]);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&calls);
    let auth = TransmitterAuth::from_fn(move |renew| {
        noted.lock().unwrap().push(renew);
        async move { Ok(if renew { "new" } else { "old" }.to_owned()) }
    });
    let stream = script.builder(auth).build().unwrap().stream("s1");
    let (receiver, state) = (Arc::<Events>::default(), state());
    let poller = Poller::new(&stream, POLL_URL, Arc::clone(&receiver) as _, &state).unwrap();
    poller.run(tokio::time::sleep(Duration::from_secs(8))).await;
    let seen = script.seen();
    let tokens: Vec<_> = seen.iter().take(5).map(|it| &*it.auth).collect();
    assert_eq!(tokens, ["Bearer old", "Bearer new", "Bearer old", "Bearer new", "Bearer old"]);
    assert_eq!(calls.lock().unwrap()[..5], [false, true, false, true, false]);
    assert!(pauses(&seen)[3] >= 0.8, "after the second rejection it backs off");
    assert_eq!(state.failing().map(|(kind, _)| kind), Some(TransmitterErrorKind::Unauthorized));
    assert_eq!(acks(&seen[4]), ["a"], "the outcome is kept");
}

#[tokio::test(start_paused = true)]
async fn fixed_access_token_that_is_rejected_is_not_sent_again_at_once() {
    let script = Script::new([]).then_always(|| empty(401));
    let (seen, _) = script.poll_for(&Arc::default(), 10).await;
    assert!(seen.len() <= 4, "{}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn responses_that_are_too_long_have_fewer_events_asked_for() {
    let long = || ok(&json!({ "sets": { "a": "x".repeat(4 * 1024 * 1024) } }));
    let script = Script::new([long(), long(), ok(&events(&["a"])), ok(&events(&["b"]))]);
    let receiver = Arc::default();
    let (seen, _) = script.poll_for(&receiver, 20).await;
    let asked: Vec<_> = seen.iter().take(5).map(|it| it.body["maxEvents"].as_u64()).collect();
    assert_eq!(asked, [100, 50, 25, 50, 100].map(Some));
    assert_eq!(receiver.received(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn endless_unusable_responses_ask_for_one_event_at_last() {
    let script = Script::new([]).then_always(|| ok(&json!([])));
    let (seen, state) = script.poll_for(&Arc::default(), 1000).await;
    assert_eq!(seen.last().unwrap().body["maxEvents"], 1);
    assert!(seen.len() < 30);
    assert_eq!(state.failing().map(|(kind, _)| kind), Some(TransmitterErrorKind::BadResponse));
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_5_unusable_response_has_no_effect() {
    let json_type = || vec![("content-type", "application/json")];
    let twice = format!("{{\"sets\":{{\"a\":\"{}\",\"a\":\"{}\"}}}}", set("a"), set("a"));
    for answer in [
        Answer::Of(200, json_type(), twice),
        Answer::Of(200, vec![("content-type", "text/html")], events(&["a"]).to_string()),
        Answer::Of(302, vec![("location", "https://evil.example.com/")], String::new()),
        ok(&json!({ "sets": [set("a")] })),
        ok(&json!({ "sets": sets(&["a"]), "moreAvailable": "yes" })),
        ok(&json!("sets")),
    ] {
        let (script, receiver) = (Script::new([answer]), Arc::default());
        let (seen, state) = script.poll_for(&receiver, 9).await;
        assert!(receiver.received().is_empty());
        assert!(acks(&seen[1]).is_empty());
        assert_eq!(state.failing().map(|(kind, _)| kind), Some(TransmitterErrorKind::BadResponse));
    }
}

#[tokio::test(start_paused = true)]
async fn outcomes_that_a_transmitter_refuses_are_forgotten_so_that_events_go_on() {
    let refuses = || empty(400);
    let answers = [ok(&events(&["a"])), refuses(), refuses(), refuses(), ok(&events(&["a"]))];
    let (seen, _) = Script::new(answers).poll_for(&Arc::default(), 60).await;
    let told: Vec<_> = seen.iter().take(6).map(|it| acks(it).len()).collect();
    assert_eq!(told, [0, 1, 1, 1, 0, 1]);
}
