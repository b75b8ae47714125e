//! A value that is fetched from elsewhere: by one fetch at a time, not too often, and kept while
//! the other side is down.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use super::slot::Slot;
use crate::{
    clock::{Clock, Moment},
    error::{ErrorKind, VerifyError},
};

/// A value goes on being used for this long while it can't be fetched anew.
pub(crate) const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// After a failure, this long nothing is fetched; twice as long after each further one.
pub(crate) const FIRST_COOLDOWN: Duration = Duration::from_secs(1);

/// Where the doubling ends.
pub(crate) const LAST_COOLDOWN: Duration = Duration::from_secs(30);

/// A longer `Retry-After` counts as this.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Where a value comes from.
pub(crate) trait Source: Send + Sync + 'static {
    type Value: Send + Sync + 'static;

    /// Fetches the value. Ends in bounded time. `last` is the one from the fetch before.
    fn fetch(
        &self,
        last: Option<Arc<Self::Value>>,
    ) -> impl Future<Output = Result<Fetched<Self::Value>, VerifyError>> + Send;
}

/// What a fetch yields.
pub(crate) struct Fetched<T> {
    pub(crate) value: Arc<T>,
    /// How long the value serves without being fetched anew.
    pub(crate) fresh_for: Duration,
}

/// A value and the one way to fetch it. Clones share both.
///
/// A fetch runs in a task of its own: it ends, and its outcome counts, even if whoever asked for
/// it is gone, so that no pattern of requests and disconnects leads to more fetches than the
/// cooldowns allow.
pub(crate) struct Refresher<S: Source>(Arc<Inner<S>>);

impl<S: Source> Clone for Refresher<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Source> Refresher<S> {
    /// Nothing is fetched until somebody asks.
    pub(crate) fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            source: Arc::new(source),
            clock,
            ahead: false,
            entry: Slot::default(),
            state: Mutex::default(),
        }))
    }

    /// From the first fetch on, the value is fetched anew at 80 % of its freshness, and after each
    /// failure, until the last handle is dropped.
    pub(crate) fn ahead(source: S, clock: Arc<dyn Clock>) -> Self {
        let mut refresher = Self::new(source, clock);
        let inner = Arc::get_mut(&mut refresher.0).expect("not cloned yet");
        inner.ahead = true;
        refresher
    }

    /// The value, if there is one that may be used. Never waits; if the value is stale, a fetch
    /// is started.
    pub(crate) fn current(&self) -> Option<Arc<S::Value>> {
        let now = self.0.now();
        let (value, age, fresh_for) = self.0.entry.read(|entry| {
            (Arc::clone(&entry.value), now.since(entry.fetched_at), entry.fresh_for)
        })?;
        if age >= KEEP {
            return None;
        }
        if age >= fresh_for {
            // What comes of it shows in a later call.
            let _ = self.0.start(now, false);
        }
        Some(value)
    }

    /// The value, fetched if there is none.
    ///
    /// # Cancellation
    ///
    /// The fetch goes on.
    pub(crate) async fn get(&self) -> Result<Arc<S::Value>, VerifyError> {
        if let Some(value) = self.current() {
            return Ok(value);
        }
        let flight = self.0.start(self.0.now(), false)?;
        flight.landing().await
    }

    /// A fetch of the value anew, unless that was asked for less than `interval` ago: then `None`,
    /// or the error if the last fetch failed. Never waits.
    pub(crate) fn renew(
        &self,
        interval: Duration,
    ) -> Result<Option<Flight<S::Value>>, VerifyError> {
        self.0.start_within(interval)
    }

    /// Starts a fetch unless that was asked for less than `interval` ago. Never waits.
    pub(crate) fn expire(&self, interval: Duration) {
        // What comes of it shows in a later call.
        let _ = self.0.start_within(interval);
    }
}

struct Inner<S: Source> {
    source: Arc<S>,
    clock: Arc<dyn Clock>,
    ahead: bool,
    entry: Slot<Entry<S::Value>>,
    state: Mutex<State<S::Value>>,
}

struct Entry<T> {
    value: Arc<T>,
    /// The start of the fetch.
    fetched_at: Moment,
    fresh_for: Duration,
}

struct State<T> {
    flight: Option<Flight<T>>,
    failure: Option<Failure>,
    demanded_at: Option<Moment>,
    task: Option<AbortHandle>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { flight: None, failure: None, demanded_at: None, task: None }
    }
}

impl<T> State<T> {
    fn failed(&mut self, at: Moment, error: VerifyError) -> &Failure {
        let count = self.failure.take().map_or(0, |failure| failure.count.saturating_add(1));
        let doubled = FIRST_COOLDOWN.saturating_mul(2_u32.saturating_pow(count));
        let wanted = error.retry_after().unwrap_or_default().min(LONGEST_RETRY_AFTER);
        let cooldown = doubled.min(LAST_COOLDOWN).max(wanted);
        let error = error.with_retry_after(cooldown);
        self.failure.insert(Failure { at, count, cooldown, error })
    }
}

struct Failure {
    at: Moment,
    /// How many failures came right before.
    count: u32,
    cooldown: Duration,
    error: VerifyError,
}

impl Failure {
    /// The error, as long as nothing may be fetched because of it.
    fn in_force(&self, now: Moment) -> Option<VerifyError> {
        let left = self.cooldown.checked_sub(now.since(self.at)).filter(|left| !left.is_zero())?;
        Some(self.error.clone().with_retry_after(left))
    }
}

/// A fetch under way.
pub(crate) struct Flight<T> {
    on_demand: bool,
    outcome: watch::Receiver<Option<Result<Arc<T>, VerifyError>>>,
}

impl<T> Clone for Flight<T> {
    fn clone(&self) -> Self {
        Self { on_demand: self.on_demand, outcome: self.outcome.clone() }
    }
}

impl<T> Flight<T> {
    /// Whether a call of [`Refresher::renew`] started it. If not, it may have started before
    /// whatever made a later call necessary.
    pub(crate) fn is_on_demand(&self) -> bool {
        self.on_demand
    }

    /// Waits for the outcome.
    ///
    /// # Cancellation
    ///
    /// The fetch goes on.
    pub(crate) async fn landing(mut self) -> Result<Arc<T>, VerifyError> {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(lost())),
            Err(_) => Err(lost()),
        }
    }

    /// Whether the task was dropped without an outcome: it panicked, or its runtime is gone.
    fn is_lost(&self) -> bool {
        self.outcome.has_changed().is_err()
    }
}

fn lost() -> VerifyError {
    VerifyError::new(ErrorKind::Unavailable)
        .with_context("the fetch ended without an outcome")
        .with_retry_after(FIRST_COOLDOWN)
}

impl<S: Source> Inner<S> {
    fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    fn state(&self) -> MutexGuard<'_, State<S::Value>> {
        // The state is whole at every point that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flight under way, or a new one if no cooldown forbids it.
    fn start(
        self: &Arc<Self>,
        now: Moment,
        on_demand: bool,
    ) -> Result<Flight<S::Value>, VerifyError> {
        self.start_locked(&mut self.state(), now, on_demand)
    }

    /// As `start`, but `None` if that was asked for less than `interval` ago.
    fn start_within(
        self: &Arc<Self>,
        interval: Duration,
    ) -> Result<Option<Flight<S::Value>>, VerifyError> {
        let now = self.now();
        let mut state = self.state();
        let under_way = state.flight.as_ref().is_some_and(|flight| !flight.is_lost());
        let wait = state.demanded_at.and_then(|at| interval.checked_sub(now.since(at)));
        if let (false, Some(wait)) = (under_way, wait.filter(|wait| !wait.is_zero())) {
            return match &state.failure {
                Some(failure) => Err(failure.error.clone().with_retry_after(wait)),
                None => Ok(None),
            };
        }
        let flight = self.start_locked(&mut state, now, true)?;
        if !under_way {
            state.demanded_at = Some(now);
        }
        Ok(Some(flight))
    }

    fn start_locked(
        self: &Arc<Self>,
        state: &mut State<S::Value>,
        now: Moment,
        on_demand: bool,
    ) -> Result<Flight<S::Value>, VerifyError> {
        match &state.flight {
            Some(flight) if flight.is_lost() => {
                state.flight = None;
                state.failed(now, lost());
            }
            Some(flight) => return Ok(flight.clone()),
            None => {}
        }
        if let Some(error) = state.failure.as_ref().and_then(|failure| failure.in_force(now)) {
            return Err(error);
        }
        let runtime = Handle::try_current().map_err(|error| {
            VerifyError::new(ErrorKind::Unavailable)
                .with_context("nothing can be fetched outside of a Tokio runtime")
                .with_source(error)
        })?;
        let (sender, outcome) = watch::channel(None);
        let flight = Flight { on_demand, outcome };
        state.flight = Some(flight.clone());
        let last = self.entry.read(|entry| Arc::clone(&entry.value));
        let task =
            runtime.spawn(fly(Arc::clone(&self.source), Arc::downgrade(self), last, now, sender));
        // The task before has landed; if anything is left of it, it is the wait for this one.
        if let Some(before) = state.task.replace(task.abort_handle()) {
            before.abort();
        }
        Ok(flight)
    }

    /// Takes an outcome over; says how long until the next fetch.
    fn land(
        &self,
        started: Moment,
        outcome: Result<Fetched<S::Value>, VerifyError>,
    ) -> (Result<Arc<S::Value>, VerifyError>, Duration) {
        let now = self.now();
        let mut state = self.state();
        state.flight = None;
        match outcome {
            Ok(Fetched { value, fresh_for }) => {
                state.failure = None;
                let entry = Entry { value: Arc::clone(&value), fetched_at: started, fresh_for };
                self.entry.store(entry);
                (Ok(value), (fresh_for * 4 / 5).saturating_sub(now.since(started)))
            }
            Err(error) => {
                let failure = state.failed(now, error);
                (Err(failure.error.clone()), failure.cooldown)
            }
        }
    }
}

impl<S: Source> Drop for Inner<S> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &state.task {
            task.abort();
        }
    }
}

/// One fetch, and the wait for the next one if there is to be one. Does not keep `home` alive.
async fn fly<S: Source>(
    source: Arc<S>,
    home: Weak<Inner<S>>,
    last: Option<Arc<S::Value>>,
    started: Moment,
    sender: watch::Sender<Option<Result<Arc<S::Value>, VerifyError>>>,
) {
    let outcome = source.fetch(last).await;
    let Some(inner) = home.upgrade() else { return };
    let (outcome, wait) = inner.land(started, outcome);
    sender.send_replace(Some(outcome));
    if !inner.ahead {
        return;
    }
    drop((source, sender, inner));
    tokio::time::sleep(wait).await;
    if let Some(inner) = home.upgrade() {
        let _ = inner.start(inner.now(), false);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::future::{join_all, poll_immediate};
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::clock::UnixTime;

    /// A wall clock that does not move, so that only Tokio's paused time counts.
    #[derive(Debug)]
    struct StoppedClock;

    impl Clock for StoppedClock {
        fn now(&self) -> UnixTime {
            UnixTime::default()
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// Counts its fetches, each of which takes 100 ms and yields the number of the fetch, fresh
    /// for ten minutes, unless the script says otherwise.
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
        Refresher::new(script.clone(), Arc::new(StoppedClock))
    }

    fn ahead(script: &Script) -> Refresher<Script> {
        Refresher::ahead(script.clone(), Arc::new(StoppedClock))
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
    async fn a_dropped_leader_costs_nothing() {
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
        // The fetch has failed although nobody waited for it, and that counts.
        assert!(refresher.get().await.is_err());
        assert_eq!(script.fetches(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_remembered_ever_longer() {
        let script = Script::failing(usize::from(u8::MAX));
        let refresher = lazy(&script);
        for cooldown in [1, 2, 4, 8, 16, 30, 30, 30] {
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
    async fn success_ends_the_memory_of_failures() {
        let script = Script::failing(3);
        let refresher = lazy(&script);
        for cooldown in [1, 2, 4] {
            refresher.get().await.unwrap_err();
            advance(Duration::from_secs(cooldown)).await;
        }
        assert_eq!(*refresher.get().await.unwrap(), 4);
        advance(KEEP).await;
        script.fail_from_now_on();
        let error = refresher.get().await.unwrap_err();
        assert_eq!(error.retry_after(), Some(FIRST_COOLDOWN));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured_within_bounds() {
        let told = |seconds| {
            VerifyError::new(ErrorKind::Unavailable).with_retry_after(Duration::from_secs(seconds))
        };
        let script = Script::failing_with(vec![told(60), told(u64::MAX), told(0)]);
        let refresher = lazy(&script);
        for cooldown in [60, 300, 4] {
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
    async fn a_stale_value_is_used_while_it_is_fetched_anew() {
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
    async fn a_value_that_can_not_be_fetched_anew_is_kept_for_a_day() {
        let script = Script::default();
        let refresher = lazy(&script);
        refresher.get().await.unwrap();
        script.fail_from_now_on();
        advance(KEEP - MINUTE).await;
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
            let flight = refresher.renew(MINUTE).unwrap().unwrap();
            assert!(flight.is_on_demand());
            assert_eq!(*flight.landing().await.unwrap(), round);
            for _ in 0..1000 {
                assert!(refresher.renew(MINUTE).unwrap().is_none());
                refresher.expire(MINUTE);
            }
            advance(MINUTE).await;
        }
        assert_eq!(script.fetches(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn renewal_joins_a_fetch_under_way_and_says_so() {
        let script = Script::default();
        let refresher = lazy(&script);
        let mut first = Box::pin(refresher.get());
        assert!(poll_immediate(&mut first).await.is_none());
        let flight = refresher.renew(MINUTE).unwrap().unwrap();
        assert!(!flight.is_on_demand());
        assert_eq!(*flight.landing().await.unwrap(), 1);
        let flight = refresher.renew(MINUTE).unwrap().unwrap();
        assert!(flight.is_on_demand());
        assert_eq!(*flight.landing().await.unwrap(), 2);
        assert_eq!(script.fetches(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn renewal_that_failed_is_told_as_a_failure() {
        let script = Script::default();
        let refresher = lazy(&script);
        refresher.get().await.unwrap();
        script.fail_from_now_on();
        let flight = refresher.renew(MINUTE).unwrap().unwrap();
        flight.landing().await.unwrap_err();
        advance(30 * FIRST_COOLDOWN).await;
        // The cooldown is over, the interval is not.
        let error = refresher.renew(MINUTE).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
        assert_eq!(script.fetches(), 2);
        assert_eq!(refresher.current().as_deref(), Some(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_one_more_failure() {
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
    fn a_runtime_that_ends_takes_only_its_own_fetch_along() {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
        };
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

    #[tokio::test(start_paused = true)]
    async fn ahead_of_time_is_at_80_percent() {
        let script = Script::default();
        let refresher = ahead(&script);
        sleep(60 * MINUTE).await;
        assert_eq!(script.fetches(), 0, "nobody has asked yet");
        refresher.get().await.unwrap();
        sleep(8 * MINUTE - Duration::from_millis(200)).await;
        assert_eq!(script.fetches(), 1);
        sleep(Duration::from_millis(300)).await;
        assert_eq!(refresher.current().as_deref(), Some(&2));
        sleep(80 * MINUTE).await;
        assert_eq!(script.fetches(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn ahead_of_time_heals_without_traffic() {
        let script = Script::failing(4);
        let refresher = ahead(&script);
        refresher.get().await.unwrap_err();
        sleep(Duration::from_secs(1 + 2 + 4 + 8)).await;
        sleep(MINUTE).await;
        assert_eq!(refresher.current().as_deref(), Some(&5));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_handle_ends_the_background_work() {
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
}
