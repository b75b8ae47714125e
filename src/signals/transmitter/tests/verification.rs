use super::{
    super::verification::VerificationTask,
    management::{configuration, metadata},
    *,
};
use crate::signals::{
    event::expected_states::ExpectedStates, transmitter::stream_configuration::StreamConfiguration,
};

/// Runs the task for this many seconds. Returns the requests but that for metadata.
async fn ask(
    script: &Script,
    stream: &Value,
    every: u64,
    secs: u64,
) -> (Vec<Seen>, Arc<ExpectedStates>) {
    let configuration = StreamConfiguration::parse(stream.to_string().as_bytes(), ISSUER).unwrap();
    let (expected, every) = (Arc::<ExpectedStates>::default(), Duration::from_secs(every));
    let stream = script.streams().stream("s1");
    let task = VerificationTask::new(stream, &configuration, every, Arc::clone(&expected));
    task.run(tokio::time::sleep(Duration::from_secs(secs))).await;
    (script.seen().split_off(1), expected)
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_4_2_state_is_random_and_expected_until_four_others_follow() {
    let script = Script::new([ok(&metadata())]).then_always(|| empty(204));
    let (seen, expected) = ask(&script, &configuration(), 60, 310).await;
    assert_eq!(seen.len(), 6);
    let states: Vec<_> = seen.iter().map(|it| it.body["state"].as_str().unwrap()).collect();
    for (at, state) in states.iter().enumerate() {
        assert!(state.len() >= 22 && !states[..at].contains(state));
        assert_eq!(expected.contains(state), at >= 2, "{at}");
    }
    assert!(!expected.contains("") && !expected.contains("x"));
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_1_interval_is_within_the_bounds_of_the_transmitter() {
    for (min, inactivity, every, requests) in [
        (None, None, 60, 10),
        (Some(120), None, 60, 5),
        (None, Some(60), 600, 20),
        (Some(120), Some(60), 60, 5),
    ] {
        let mut stream = configuration();
        stream["min_verification_interval"] = json!(min);
        stream["inactivity_timeout"] = json!(inactivity);
        let script = Script::new([ok(&metadata())]).then_always(|| empty(204));
        let (seen, _) = ask(&script, &stream, every, 599).await;
        assert_eq!(seen.len(), requests, "{min:?} {inactivity:?} {every}");
    }
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_4_2_failed_request_is_repeated_but_not_too_soon() {
    let script = Script::new([ok(&metadata()), empty(500), empty(429), empty(204)]);
    let mut free = configuration();
    free["min_verification_interval"] = Value::Null;
    let (seen, _) = ask(&script, &free, 600, 100).await;
    assert_eq!(seen.len(), 3);
    let script = Script::new([ok(&metadata())]).then_always(|| empty(429));
    let (seen, _) = ask(&script, &configuration(), 600, 239).await;
    assert_eq!(seen.len(), 4);
}
