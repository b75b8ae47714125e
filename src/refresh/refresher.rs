//! Fetches a value when it is first needed, keeps it, and renews it ahead of time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use super::{
    asker::Asker,
    flight::{Ended, Failure, Outcome, PendingFetch, no_runtime},
    renewal::{Pause, Renewal, renewed_after},
    slot::Slot,
    source::{Fetched, RefreshState, Source},
    turns::{InTurn, Turns},
};
use crate::{
    clock::{Clock, Moment},
    error::refusal::VerifyError,
};

/// The longest time for which a value is used without being fetched again.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A value and the only way to fetch it. Clones share both.
///
/// A fetch runs in its own task. It ends, and its outcome counts, even if its caller goes away. So
/// no pattern of requests and disconnects causes more fetches than the cooldowns allow.
pub(crate) struct Refresher<S: Source>(pub(super) Arc<SharedRefresher<S>>);

impl<S: Source> Clone for Refresher<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Source> Refresher<S> {
    /// Creates a refresher that fetches nothing before a caller needs the value.
    pub(crate) fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self::create(source, clock, None)
    }

    /// Creates a refresher that also renews the value ahead of time.
    ///
    /// Once the value is in use, it is fetched again at 80 % of its freshness and after each
    /// failure, until the last handle is dropped. Fetches that requests wait for, and those after a
    /// failure, take turns.
    pub(crate) fn renewing_ahead(source: S, clock: Arc<dyn Clock>, turns: Arc<Turns>) -> Self {
        Self::create(source, clock, Some(Renewal::new(turns)))
    }

    fn create(source: S, clock: Arc<dyn Clock>, renewal: Option<Renewal>) -> Self {
        Self(Arc::new(SharedRefresher {
            source: Arc::new(source),
            clock,
            renewal,
            entry: Slot::default(),
            fetches: Mutex::default(),
            ended: watch::Sender::new(None),
        }))
    }

    /// Has the value renewed ahead of time from now on, because it is in use.
    pub(crate) fn note_use(&self) {
        if let Some(renewal) = &self.0.renewal {
            renewal.note_use();
        }
    }

    /// Notes that a token of this asker was admitted by means of the value.
    pub(crate) fn note_admitted(&self, asker: Asker) {
        if let Some(renewal) = &self.0.renewal {
            renewal.note_use();
            renewal.turns.note_admitted(asker);
        }
    }

    /// Returns the value, if there is one that may be used. Never waits.
    ///
    /// Starts a fetch if the value is stale, or if the last fetch failed and its cooldown is over:
    /// the failure is reported until a fetch succeeds.
    pub(crate) fn current(&self) -> Option<Arc<S::Value>> {
        let now = self.0.now();
        let (value, age, fresh_for) = self.0.entry.read(|entry| {
            (Arc::clone(&entry.value), now.since(entry.fetched_at), entry.fresh_for)
        })?;
        if age >= MAX_AGE {
            return None;
        }
        if age >= fresh_for || self.0.waits_for_retry(now) {
            self.0.start_when_allowed(now);
        }
        Some(value)
    }

    /// Returns the current state. Starts no fetch.
    pub(crate) fn state(&self) -> RefreshState<S::Value> {
        let now = self.0.now();
        let value = self.0.entry.read(|entry| (Arc::clone(&entry.value), entry.fetched_at));
        let fetched_at = value.as_ref().map(|(_, at)| *at);
        let value = value.filter(|(_, at)| now.since(*at) < MAX_AGE);
        let failing = self.0.fetches().failure.as_ref().map(Failure::kind_and_start);
        RefreshState { value, fetched_at, failing }
    }

    /// Starts a fetch if the value is missing or stale. Never waits.
    pub(crate) fn start_fetching(&self) {
        if self.current().is_none() {
            self.0.start_when_allowed(self.0.now());
        }
    }

    /// Returns the value, and fetches it first if there is none.
    ///
    /// # Cancellation
    ///
    /// The fetch continues.
    pub(crate) async fn get(&self) -> Outcome<S::Value> {
        if let Some(value) = self.current() {
            return Ok(value);
        }
        let pending = self.0.start(self.0.now())?;
        pending.outcome().await
    }

    /// Starts a fetch, unless one was started on demand less than `interval` ago. Never waits.
    pub(crate) fn renew_in_background(&self, interval: Duration) {
        let now = self.0.now();
        let mut fetches = self.0.fetches();
        let recent = fetches.demanded_at.is_some_and(|at| now.since(at) < interval);
        if recent || fetches.is_under_way(now) {
            return;
        }
        // A later call sees the outcome.
        if self.0.start_locked(&mut fetches, now).is_ok() {
            fetches.demanded_at = Some(now);
        }
    }
}

pub(super) struct SharedRefresher<S: Source> {
    source: Arc<S>,
    clock: Arc<dyn Clock>,
    /// `None` if the value is fetched only when a caller needs it.
    pub(super) renewal: Option<Renewal>,
    pub(super) entry: Slot<Entry<S::Value>>,
    fetches: Mutex<Fetches<S::Value>>,
    /// The fetch that ended last.
    pub(super) ended: watch::Sender<Option<Ended<S::Value>>>,
}

pub(super) struct Entry<T> {
    pub(super) value: Arc<T>,
    /// The time when the fetch started.
    pub(super) fetched_at: Moment,
    fresh_for: Duration,
}

/// The fetch under way, and the outcome of the previous ones.
pub(super) struct Fetches<T> {
    pending: Option<PendingFetch<T>>,
    pub(super) failure: Option<Failure>,
    demanded_at: Option<Moment>,
    pub(super) pause: Pause,
    task: Option<AbortHandle>,
}

impl<T> Fetches<T> {
    pub(super) fn is_under_way(&self, now: Moment) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.is_lost(now))
    }
}

impl<T> Default for Fetches<T> {
    fn default() -> Self {
        let (pending, failure, demanded_at, task) = (None, None, None, None);
        Self { pending, failure, demanded_at, pause: Pause::default(), task }
    }
}

impl<S: Source> SharedRefresher<S> {
    pub(super) fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    pub(super) fn fetches(&self) -> MutexGuard<'_, Fetches<S::Value>> {
        // The state is consistent at every point that could panic.
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the last fetch failed and the next one waits for a caller.
    fn waits_for_retry(&self, now: Moment) -> bool {
        // The value is read for each JWT, so those that are renewed ahead take no lock.
        self.renewal.is_none()
            && self
                .fetches()
                .failure
                .as_ref()
                .is_some_and(|failure| failure.cooldown_error(now).is_none())
    }

    /// Returns true if there is a value that may be used.
    pub(super) fn has_value(&self, now: Moment) -> bool {
        self.entry.read(|entry| now.since(entry.fetched_at) < MAX_AGE).unwrap_or(false)
    }

    /// Starts a fetch that no caller waits for, if no cooldown forbids it: at once, or in turn.
    fn start_when_allowed(self: &Arc<Self>, now: Moment) {
        let Some(renewal) = &self.renewal else {
            // A later call sees the outcome.
            let _ = self.start(now);
            return;
        };
        let fetches = self.fetches();
        let cooldown = fetches.failure.as_ref().and_then(|failure| failure.cooldown_error(now));
        let allowed = !fetches.is_under_way(now) && cooldown.is_none();
        drop(fetches);
        if allowed {
            renewal.turns.line_up(&self.in_turn(), Duration::ZERO, true);
        }
    }

    /// Returns the fetch under way, or starts one if no cooldown forbids it.
    fn start(self: &Arc<Self>, now: Moment) -> Result<PendingFetch<S::Value>, VerifyError> {
        self.start_locked(&mut self.fetches(), now)
    }

    fn start_locked(
        self: &Arc<Self>,
        fetches: &mut Fetches<S::Value>,
        now: Moment,
    ) -> Result<PendingFetch<S::Value>, VerifyError> {
        if let Some(pending) = self.under_way(fetches, now) {
            return Ok(pending);
        }
        let failure = fetches.failure.as_ref();
        if let Some(error) = failure.and_then(|failure| failure.cooldown_error(now)) {
            return Err(error);
        }
        self.spawn_fetch(fetches, now, false)
    }

    /// Returns the fetch under way. One that is lost counts as a failure.
    fn under_way(
        &self,
        fetches: &mut Fetches<S::Value>,
        now: Moment,
    ) -> Option<PendingFetch<S::Value>> {
        match &fetches.pending {
            Some(pending) if pending.is_lost(now) => {
                fetches.pending = None;
                let before = fetches.failure.as_ref();
                fetches.failure = Some(Failure::lost(now, before, self.has_value(now)));
                None
            }
            pending => pending.clone(),
        }
    }

    fn spawn_fetch(
        self: &Arc<Self>,
        fetches: &mut Fetches<S::Value>,
        now: Moment,
        on_demand: bool,
    ) -> Result<PendingFetch<S::Value>, VerifyError> {
        let runtime = Handle::try_current().map_err(no_runtime)?;
        let (sender, pending) = PendingFetch::new(now);
        fetches.pending = Some(pending.clone());
        fetches.pause.note_begin(now);
        let last = self.entry.read(|entry| Arc::clone(&entry.value));
        let run = FetchRun { started: now, on_demand, last, sender };
        let task = runtime.spawn(run.run(Arc::clone(&self.source), Arc::downgrade(self)));
        // The previous task has ended, is lost, or only waits to start this fetch.
        if let Some(before) = fetches.task.replace(task.abort_handle()) {
            before.abort();
        }
        Ok(pending)
    }

    /// Returns this refresher for the turns at its server.
    pub(super) fn in_turn(self: &Arc<Self>) -> Weak<dyn InTurn> {
        let this: Arc<dyn InTurn> = Arc::clone(self) as _;
        Arc::downgrade(&this)
    }

    /// Stores an outcome, and returns it with the time to wait for the next fetch.
    fn store_outcome(
        &self,
        started: Moment,
        on_demand: bool,
        outcome: Result<Fetched<S::Value>, VerifyError>,
    ) -> (Outcome<S::Value>, Duration) {
        let now = self.now();
        let mut fetches = self.fetches();
        fetches.pending = None;
        match outcome {
            Ok(Fetched { value, fresh_for }) => {
                fetches.failure = None;
                let before = self.entry.read(|entry| Arc::clone(&entry.value));
                let value = match &before {
                    Some(before) => S::successor(value, before),
                    None => value,
                };
                if before.is_none_or(|before| S::has_news(&value, &before)) {
                    fetches.pause.reset();
                } else if on_demand {
                    fetches.pause.double(Duration::ZERO);
                }
                let entry = Entry { value: Arc::clone(&value), fetched_at: started, fresh_for };
                self.entry.store(entry);
                (Ok(value), renewed_after(fresh_for).saturating_sub(now.since(started)))
            }
            Err(error) => {
                if on_demand {
                    fetches.pause.double(error.retry_after().unwrap_or_default());
                }
                let before = fetches.failure.as_ref();
                let failure = Failure::new(now, error, before, self.has_value(now));
                let cooldown = failure.cooldown();
                let error = failure.error_with_wait(cooldown);
                fetches.failure = Some(failure);
                (Err(error), cooldown)
            }
        }
    }
}

impl<S: Source> Drop for SharedRefresher<S> {
    fn drop(&mut self) {
        let fetches = self.fetches.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &fetches.task {
            task.abort();
        }
    }
}

impl<S: Source> InTurn for SharedRefresher<S> {
    fn begin(self: Arc<Self>, on_demand: bool) {
        let now = self.now();
        let mut fetches = self.fetches();
        if self.under_way(&mut fetches, now).is_none() {
            // Requests that wait see the outcome, or that there is none.
            let _ = self.spawn_fetch(&mut fetches, now, on_demand);
        }
    }

    fn is_in_use(&self) -> bool {
        self.renewal.as_ref().is_some_and(Renewal::is_in_use)
    }
}

/// One fetch, and the wait for the next one.
struct FetchRun<T> {
    started: Moment,
    on_demand: bool,
    last: Option<Arc<T>>,
    sender: watch::Sender<Option<Outcome<T>>>,
}

impl<T: Send + Sync + 'static> FetchRun<T> {
    /// Runs the fetch, then waits to start the next one if the refresher works ahead of time. Does
    /// not keep `owner` alive.
    async fn run<S: Source<Value = T>>(self, source: Arc<S>, owner: Weak<SharedRefresher<S>>) {
        let Self { started, on_demand, last, sender } = self;
        let outcome = match on_demand {
            true => source.fetch_on_demand(last).await,
            false => source.fetch(last).await,
        };
        let Some(inner) = owner.upgrade() else { return };
        let (outcome, wait) = inner.store_outcome(started, on_demand, outcome);
        let failed = outcome.is_err();
        sender.send_replace(Some(outcome.clone()));
        inner.ended.send_replace(Some(Ended { began: started, outcome }));
        let Some(renewal) = &inner.renewal else { return };
        let pause = inner.fetches().pause.left(inner.now());
        renewal.turns.line_up_waiting(&inner.in_turn(), pause);
        let usage = renewal.usage();
        drop((source, sender, inner));
        tokio::time::sleep(wait).await;
        // A value that was of no use yet is not worth a request.
        usage.begun().await;
        let Some(inner) = owner.upgrade() else { return };
        if failed {
            inner.start_when_allowed(inner.now());
        } else {
            let _ = inner.start(inner.now());
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
