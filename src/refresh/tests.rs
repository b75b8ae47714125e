use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::{join_all, poll_immediate};
use tokio::time::{advance, sleep};

use super::*;
use crate::{clock::tests::FixedClock, error::kind::ErrorKind, refresh::flight::FIRST_COOLDOWN};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A source that counts its fetches.
///
/// Each fetch takes 100 ms and yields its number, fresh for ten minutes, unless it is scripted to
/// fail.
#[derive(Clone, Default)]
struct Script {
    fetches: Arc<AtomicUsize>,
    failures: Arc<Mutex<VecDeque<VerifyError>>>,
}

impl Script {
    fn failing(times: usize) -> Self {
        Self::failing_with(vec![VerifyError::new(ErrorKind::Unavailable); times])
    }

    fn failing_with(errors: Vec<VerifyError>) -> Self {
        Self { failures: Arc::new(Mutex::new(errors.into())), ..Self::default() }
    }

    fn fail_from_now_on(&self) {
        let error = VerifyError::new(ErrorKind::Unavailable);
        self.failures.lock().unwrap().extend(vec![error; 100_000]);
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl Source for Script {
    type Value = usize;

    async fn fetch(&self, last: Option<Arc<usize>>) -> Result<Fetched<usize>, VerifyError> {
        let count = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(last.is_none_or(|last| *last < count));
        sleep(Duration::from_millis(100)).await;
        let failure = self.failures.lock().unwrap().pop_front();
        match failure {
            Some(error) if error.kind() == ErrorKind::Misconfigured => panic!("as scripted"),
            Some(error) => Err(error),
            None => Ok(Fetched { value: Arc::new(count), fresh_for: 10 * MINUTE }),
        }
    }
}

fn lazy(script: &Script) -> Refresher<Script> {
    Refresher::new(script.clone(), Arc::new(FixedClock(0)))
}

fn ahead(script: &Script) -> Refresher<Script> {
    let turns = Arc::new(Turns::new());
    let refresher = Refresher::renewing_ahead(script.clone(), Arc::new(FixedClock(0)), turns);
    refresher.note_use();
    refresher
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_share_one_fetch() {
    let script = Script::default();
    let refresher = lazy(&script);
    assert!(refresher.current().is_none());
    assert_eq!(script.fetches(), 0);
    for outcome in join_all((0..200).map(|_| refresher.get())).await {
        assert_eq!(*outcome.unwrap(), 1);
    }
    assert_eq!(refresher.current().as_deref(), Some(&1));
    assert_eq!(script.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_leader_does_not_cancel_the_fetch() {
    let script = Script::default();
    let refresher = lazy(&script);
    let mut leader = Box::pin(refresher.get());
    assert!(poll_immediate(&mut leader).await.is_none());
    let mut follower = Box::pin(refresher.get());
    assert!(poll_immediate(&mut follower).await.is_none());
    drop(leader);
    assert_eq!(*follower.await.unwrap(), 1);
    assert_eq!(script.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn callers_that_hang_up_cause_no_further_fetches() {
    let script = Script::failing(1);
    let refresher = lazy(&script);
    for _ in 0..1000 {
        assert!(poll_immediate(Box::pin(refresher.get())).await.is_none());
    }
    sleep(Duration::from_millis(200)).await;
    // The fetch has failed although no caller waited for it, and the failure counts.
    assert!(refresher.get().await.is_err());
    assert_eq!(script.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn cooldown_after_failures_doubles_up_to_its_maximum() {
    let script = Script::failing(usize::from(u8::MAX));
    let refresher = lazy(&script);
    for cooldown in [1, 2, 4, 5, 5, 5] {
        let before = script.fetches();
        let error = refresher.get().await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(cooldown)));
        assert_eq!(script.fetches(), before + 1);

        advance(Duration::from_millis(cooldown * 1000 - 500)).await;
        let error = refresher.get().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().unwrap() <= Duration::from_millis(500));
        assert_eq!(script.fetches(), before + 1);
        advance(Duration::from_millis(501)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cooldown_is_longer_while_there_is_a_value() {
    let script = Script::default();
    let refresher = lazy(&script);
    refresher.get().await.unwrap();
    script.fail_from_now_on();
    for cooldown in [1, 2, 4, 8, 16, 30, 30, 30] {
        advance(MINUTE).await;
        refresher.renew_in_background(Duration::ZERO);
        sleep(Duration::from_millis(150)).await;
        let left = refresher.0.fetches().failure.as_ref().unwrap().cooldown();
        assert_eq!(left, Duration::from_secs(cooldown));
    }
}

#[tokio::test(start_paused = true)]
async fn success_resets_the_cooldown() {
    let script = Script::failing(3);
    let refresher = lazy(&script);
    for cooldown in [1, 2, 4] {
        refresher.get().await.unwrap_err();
        advance(Duration::from_secs(cooldown)).await;
    }
    assert_eq!(*refresher.get().await.unwrap(), 4);
    advance(MAX_AGE).await;
    script.fail_from_now_on();
    let error = refresher.get().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(FIRST_COOLDOWN));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_within_bounds() {
    let told = |seconds| {
        VerifyError::new(ErrorKind::Unavailable).with_retry_after(Duration::from_secs(seconds))
    };
    let script = Script::default();
    let refresher = lazy(&script);
    refresher.get().await.unwrap();
    script.failures.lock().unwrap().extend([told(60), told(u64::MAX), told(0)]);
    for cooldown in [60, 300, 4] {
        refresher.renew_in_background(Duration::ZERO);
        sleep(Duration::from_millis(150)).await;
        let fetches = script.fetches();
        advance(Duration::from_secs(cooldown) - Duration::from_millis(100)).await;
        refresher.renew_in_background(Duration::ZERO);
        sleep(Duration::from_millis(20)).await;
        assert_eq!(script.fetches(), fetches);
        advance(Duration::from_millis(100)).await;
    }
    refresher.renew_in_background(Duration::ZERO);
    sleep(Duration::from_millis(150)).await;
    assert_eq!(refresher.current().as_deref(), Some(&5));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_a_few_seconds_at_most_while_there_is_no_value() {
    let told = |seconds| {
        VerifyError::new(ErrorKind::Unavailable).with_retry_after(Duration::from_secs(seconds))
    };
    let script = Script::failing_with(vec![told(3), told(u64::MAX), told(0)]);
    let refresher = lazy(&script);
    for cooldown in [3, 5, 4] {
        let error = refresher.get().await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(cooldown)));
        advance(Duration::from_secs(cooldown) - Duration::from_millis(1)).await;
        let fetches = script.fetches();
        refresher.get().await.unwrap_err();
        assert_eq!(script.fetches(), fetches);
        advance(Duration::from_millis(1)).await;
    }
    assert_eq!(*refresher.get().await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn stale_value_is_used_while_it_is_refreshed() {
    let script = Script::default();
    let refresher = lazy(&script);
    refresher.get().await.unwrap();
    advance(10 * MINUTE).await;
    assert_eq!(*poll_immediate(refresher.get()).await.unwrap().unwrap(), 1);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(refresher.current().as_deref(), Some(&2));
    assert_eq!(script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn value_that_cannot_be_refreshed_is_kept_for_a_day() {
    let script = Script::default();
    let refresher = lazy(&script);
    refresher.get().await.unwrap();
    script.fail_from_now_on();
    advance(MAX_AGE - MINUTE).await;
    assert_eq!(refresher.current().as_deref(), Some(&1));
    sleep(MINUTE).await;
    assert!(refresher.current().is_none());
    assert_eq!(refresher.get().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn renewal_is_limited_by_its_interval() {
    let script = Script::default();
    let refresher = lazy(&script);
    refresher.get().await.unwrap();
    for round in 2..5 {
        for _ in 0..1000 {
            refresher.renew_in_background(MINUTE);
        }
        sleep(Duration::from_millis(150)).await;
        assert_eq!(refresher.current().as_deref(), Some(&round));
        for _ in 0..1000 {
            refresher.renew_in_background(MINUTE);
        }
        sleep(MINUTE).await;
    }
    assert_eq!(script.fetches(), 4);
}

#[tokio::test(start_paused = true)]
async fn panic_counts_as_a_failure() {
    let panic = VerifyError::new(ErrorKind::Misconfigured);
    let script = Script::failing_with(vec![panic]);
    let refresher = lazy(&script);
    for _ in 0..3 {
        assert_eq!(refresher.get().await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(script.fetches(), 1);
    advance(FIRST_COOLDOWN).await;
    assert_eq!(*refresher.get().await.unwrap(), 2);
}

#[test]
fn end_of_a_runtime_cancels_only_its_own_fetch() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let script = Script::default();
    let refresher = ahead(&script);
    assert_eq!(
        futures_util::FutureExt::now_or_never(refresher.get()).unwrap().unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    runtime().unwrap().block_on(async {
        assert!(poll_immediate(Box::pin(refresher.get())).await.is_none());
        tokio::task::yield_now().await;
    });
    assert_eq!(script.fetches(), 1);
    runtime().unwrap().block_on(async {
        assert_eq!(refresher.get().await.unwrap_err().kind(), ErrorKind::Unavailable);
        sleep(FIRST_COOLDOWN).await;
        assert_eq!(*refresher.get().await.unwrap(), 2);
    });
}

#[test]
fn stopped_runtime_blocks_other_callers_only_briefly() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let script = Script::default();
    let refresher = lazy(&script);
    let still = runtime().unwrap();
    still.block_on(async {
        assert!(poll_immediate(Box::pin(refresher.get())).await.is_none());
    });
    runtime().unwrap().block_on(async {
        assert_eq!(refresher.get().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(refresher.get().await.is_err());
        sleep(FIRST_COOLDOWN).await;
        assert_eq!(*refresher.get().await.unwrap(), 1);
    });
    drop(still);
}

#[tokio::test(start_paused = true)]
async fn refresh_ahead_starts_at_80_percent_of_the_lifetime() {
    let script = Script::default();
    let refresher = ahead(&script);
    sleep(60 * MINUTE).await;
    assert_eq!(script.fetches(), 0, "the value is not needed yet");
    refresher.get().await.unwrap();
    sleep(8 * MINUTE - Duration::from_millis(200)).await;
    assert_eq!(script.fetches(), 1);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(refresher.current().as_deref(), Some(&2));
    sleep(80 * MINUTE).await;
    assert_eq!(script.fetches(), 12);
}

#[tokio::test(start_paused = true)]
async fn refresh_ahead_recovers_without_traffic() {
    let script = Script::failing(4);
    let refresher = ahead(&script);
    refresher.get().await.unwrap_err();
    sleep(Duration::from_secs(1 + 2 + 4 + 5)).await;
    sleep(SECOND).await;
    assert_eq!(refresher.current().as_deref(), Some(&5));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_the_background_task() {
    let script = Script::default();
    let refresher = ahead(&script);
    let other = refresher.clone();
    refresher.get().await.unwrap();
    drop(refresher);
    sleep(20 * MINUTE).await;
    assert_eq!(script.fetches(), 3);
    drop(other);
    sleep(60 * MINUTE).await;
    assert_eq!(script.fetches(), 3);
    assert_eq!(Arc::strong_count(&script.fetches), 1, "the task is gone");
}

#[tokio::test(start_paused = true)]
async fn failed_renewal_is_tried_again_with_the_next_use_after_its_cooldown() {
    let script = Script::default();
    let refresher = lazy(&script);
    refresher.get().await.unwrap();
    script.failures.lock().unwrap().push_back(VerifyError::new(ErrorKind::Unavailable));
    refresher.renew_in_background(MINUTE);
    sleep(Duration::from_millis(150)).await;
    assert!(refresher.state().failing.is_some());
    // Not before the cooldown is over, however often the value is used.
    for _ in 0..100 {
        assert_eq!(refresher.current().as_deref(), Some(&1));
    }
    sleep(FIRST_COOLDOWN).await;
    assert_eq!(script.fetches(), 2, "nothing is fetched without a use");
    for _ in 0..100 {
        assert_eq!(refresher.current().as_deref(), Some(&1), "the value is used meanwhile");
    }
    sleep(Duration::from_millis(150)).await;
    assert!(refresher.state().failing.is_none());
    assert_eq!((script.fetches(), refresher.current().as_deref()), (3, Some(&3)));
}

#[tokio::test(start_paused = true)]
async fn value_is_not_renewed_before_it_is_in_use() {
    for failures in [0, 1] {
        let script = Script::failing(failures);
        let turns = Arc::new(Turns::new());
        let refresher = Refresher::renewing_ahead(script.clone(), Arc::new(FixedClock(0)), turns);
        let _ = refresher.get().await;
        sleep(9 * MINUTE).await;
        assert_eq!(script.fetches(), 1);
        refresher.note_use();
        sleep(SECOND).await;
        assert_eq!(script.fetches(), 2);
        sleep(8 * MINUTE).await;
        assert_eq!(script.fetches(), 3);
    }
}
