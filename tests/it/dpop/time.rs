//! The time of a proof (RFC 9449 §4.3, check 11; §11.1).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tower_introspect::{
    ErrorKind,
    proof::{Mark, Marked, Marking, ReplayStore},
};

use super::*;

const BAD: Result<(), ErrorKind> = Err(ErrorKind::InvalidProof);

/// Returns the outcome of a proof whose `iat` is this many seconds from now.
async fn off_by(world: &World, seconds: i64) -> Result<(), ErrorKind> {
    world.outcome(world.proof().claim("iat", NOW.as_secs() + seconds)).await
}

#[tokio::test(start_paused = true)]
async fn rfc9449_11_1_iat_is_accepted_within_both_edges_of_the_window() {
    let world = World::new();
    for (seconds, expected) in [
        (0, Ok(())),
        (-30, Ok(())),
        (-31, BAD),
        (30, Ok(())),
        (31, BAD),
        (-3600, BAD),
        (3600, BAD),
        (i64::MIN / 2, BAD),
        (i64::MAX / 2, BAD),
    ] {
        assert_eq!(off_by(&world, seconds).await, expected, "{seconds}");
    }
    for (millis, expected) in
        [(-30_000, Ok(())), (-30_001, BAD), (30_000, Ok(())), (30_001, BAD), (-500, Ok(()))]
    {
        #[expect(clippy::cast_precision_loss, reason = "far from where it matters")]
        let iat = (NOW.as_millis() + millis) as f64 / 1000.0;
        assert_eq!(world.outcome(world.proof().claim("iat", iat)).await, expected, "{millis}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc7519_4_1_4_proof_that_has_expired_by_its_own_word_is_refused() {
    let world = World::new();
    for (seconds, expected) in [(1, Ok(())), (3600, Ok(())), (0, BAD), (-1, BAD), (-3600, BAD)] {
        let proof = world.proof().claim("exp", NOW.as_secs() + seconds);
        assert_eq!(world.outcome(proof).await, expected, "{seconds}");
    }
    // The clock of the client may be ahead as far as for `iat`.
    for (seconds, expected) in [(-3600, Ok(())), (0, Ok(())), (30, Ok(())), (31, BAD)] {
        let proof = world.proof().claim("nbf", NOW.as_secs() + seconds);
        assert_eq!(world.outcome(proof).await, expected, "{seconds}");
    }
    for name in ["exp", "nbf"] {
        for value in [json!("1893456000"), json!(null), json!({}), json!([1]), json!(true)] {
            let proof = world.proof().claim(name, value.clone());
            assert_eq!(world.outcome(proof).await, BAD, "{name} {value}");
        }
    }
}

/// A nonce stands in for `iat` only.
#[tokio::test(start_paused = true)]
async fn rfc7519_4_1_4_expired_proof_with_a_nonce_is_refused() {
    let world = World::with(dpop().require_nonce());
    let nonce = nonce_of(&world.with_proof(&world.proof().mint()).await).unwrap();
    let proof = || world.proof().nonce(&nonce).claim("iat", 0);
    assert_eq!(world.outcome(proof().claim("exp", NOW.as_secs() + 1)).await, Ok(()));
    assert_eq!(world.outcome(proof().claim("exp", NOW.as_secs() - 1)).await, BAD);
    assert_eq!(world.outcome(proof().claim("nbf", NOW.as_secs() + 3600)).await, BAD);
}

/// FAPI 2.0 §5.3.2.1: ten seconds ahead are accepted, more than a minute is refused.
#[tokio::test(start_paused = true)]
async fn fapi2_5_3_2_1_iat_ten_seconds_ahead_is_accepted_and_over_a_minute_is_refused() {
    for window in [10, 30, 60, 300, 100_000] {
        let world = World::with(dpop().window(Duration::from_secs(window)));
        assert_eq!(off_by(&world, 10).await, Ok(()), "{window}");
        assert_eq!(off_by(&world, 61).await, BAD, "{window}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_is_at_most_five_minutes() {
    let world = World::with(dpop().window(Duration::MAX));
    for (seconds, expected) in [(-300, Ok(())), (-301, BAD), (60, Ok(())), (61, BAD)] {
        assert_eq!(off_by(&world, seconds).await, expected, "{seconds}");
    }
    let none = World::with(dpop().window(Duration::ZERO));
    assert_eq!(off_by(&none, 0).await, Ok(()));
    assert_eq!(off_by(&none, -1).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn sides_of_the_window_are_set_apart() {
    for (window, ahead, oldest, latest) in [
        (5, None, -5, 5),
        (5, Some(10), -5, 10),
        (300, Some(0), -300, 0),
        (0, Some(10), 0, 10),
        (300, None, -300, 60),
        (5, Some(100_000), -5, 60),
    ] {
        let mut settings = dpop().window(Duration::from_secs(window));
        if let Some(ahead) = ahead {
            settings = settings.max_ahead(Duration::from_secs(ahead));
        }
        let world = World::with(settings);
        for (seconds, expected) in
            [(oldest - 1, BAD), (oldest, Ok(())), (latest, Ok(())), (latest + 1, BAD)]
        {
            assert_eq!(off_by(&world, seconds).await, expected, "{window} {ahead:?} {seconds}");
        }
    }
}

/// The mark of a proof is kept until the first moment at which the proof is refused for its age.
#[tokio::test(start_paused = true)]
async fn mark_is_kept_as_long_as_the_proof_is_good_on_either_side_of_the_window() {
    for (window, ahead, iat) in [(5, 10, -5), (5, 10, 0), (5, 10, 10), (30, 0, -30), (0, 0, 0)] {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let settings = dpop()
            .window(Duration::from_secs(window))
            .max_ahead(Duration::from_secs(ahead))
            .replay_store(Recording(Arc::clone(&kept)));
        let world = World::with(settings);
        let proof = world.proof().claim("iat", NOW.as_secs() + iat).mint();
        assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
        let keep_for = kept.lock().unwrap()[0];
        tokio::time::advance(keep_for - Duration::from_millis(1)).await;
        assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK, "without the mark");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(refusal(&world.with_proof(&proof).await), Some(ErrorKind::InvalidProof));
    }
}

/// A store that forgets everything, and records how long it should have kept it.
struct Recording(Arc<Mutex<Vec<Duration>>>);

impl ReplayStore for Recording {
    fn mark(&self, mark: Mark) -> Marking {
        self.0.lock().unwrap().push(mark.keep_for());
        Marking::done(Ok(Marked::First))
    }
}

#[tokio::test(start_paused = true)]
async fn rfc7519_2_iat_is_a_number() {
    let world = World::new();
    let now = NOW.as_secs();
    for iat in [
        json!(now.to_string()),
        json!(null),
        json!([now]),
        json!(true),
        json!({"iat": now}),
        json!(NOW.as_millis()),
        json!(-now),
        json!(1e308),
    ] {
        assert_eq!(world.outcome(world.proof().claim("iat", iat.clone())).await, BAD, "{iat}");
    }
    let huge = "123456789".repeat(200);
    let claims =
        format!("{{\"jti\":\"a\",\"htm\":\"GET\",\"htu\":\"{URL}\",\"ath\":\"x\",\"iat\":{huge}}}");
    assert_eq!(world.outcome(world.proof().raw_claims(&claims)).await, BAD);
}

#[tokio::test(start_paused = true)]
async fn iat_is_compared_with_the_time_of_the_request() {
    let world = World::new();
    let proof = world.proof().mint();
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(refusal(&world.with_proof(&proof).await), Some(ErrorKind::InvalidProof));
    world.clock.step_back(Duration::from_secs(1));
    assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
}
