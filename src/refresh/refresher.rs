//! Fetches a value when it is first needed, keeps it, and renews it ahead of time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use super::{
    flight::{Failure, Outcome, PendingFetch},
    slot::Slot,
    source::{Fetched, RefreshState, Source},
};
use crate::{
    clock::{Clock, Moment},
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// The longest time for which a value is used without being fetched again.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A value and the only way to fetch it. Clones share both.
///
/// A fetch runs in its own task. It ends, and its outcome counts, even if its caller goes away. So
/// no pattern of requests and disconnects causes more fetches than the cooldowns allow.
pub(crate) struct Refresher<S: Source>(Arc<SharedRefresher<S>>);

impl<S: Source> Clone for Refresher<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Source> Refresher<S> {
    /// Creates a refresher that fetches nothing before a caller needs the value.
    pub(crate) fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(SharedRefresher {
            source: Arc::new(source),
            clock,
            renews_ahead: false,
            entry: Slot::default(),
            fetches: Mutex::default(),
        }))
    }

    /// Creates a refresher that also renews the value ahead of time.
    ///
    /// From the first fetch on, it fetches the value again at 80 % of its freshness and after each
    /// failure, until the last handle is dropped.
    pub(crate) fn renewing_ahead(source: S, clock: Arc<dyn Clock>) -> Self {
        let mut refresher = Self::new(source, clock);
        let inner = Arc::get_mut(&mut refresher.0).expect("not cloned yet");
        inner.renews_ahead = true;
        refresher
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
            // A later call sees the outcome.
            let _ = self.0.start(now, false);
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
            // A later call sees the outcome.
            let _ = self.0.start(self.0.now(), false);
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
        let pending = self.0.start(self.0.now(), false)?;
        pending.outcome().await
    }

    /// Starts a fetch of the value, or joins the one under way. Never waits.
    ///
    /// Starts none within `interval` of the previous fetch on demand: then it returns the error of
    /// the last fetch if that failed, or else `None`. Also returns an error while a cooldown is in
    /// force.
    pub(crate) fn renew(
        &self,
        interval: Duration,
    ) -> Result<Option<PendingFetch<S::Value>>, VerifyError> {
        self.0.start_within(interval)
    }

    /// Starts a fetch, unless one was started on demand less than `interval` ago. Never waits.
    pub(crate) fn renew_in_background(&self, interval: Duration) {
        // A later call sees the outcome.
        let _ = self.0.start_within(interval);
    }
}

struct SharedRefresher<S: Source> {
    source: Arc<S>,
    clock: Arc<dyn Clock>,
    renews_ahead: bool,
    entry: Slot<Entry<S::Value>>,
    fetches: Mutex<Fetches<S::Value>>,
}

struct Entry<T> {
    value: Arc<T>,
    /// The time when the fetch started.
    fetched_at: Moment,
    fresh_for: Duration,
}

/// The fetch under way, and the outcome of the previous ones.
struct Fetches<T> {
    pending: Option<PendingFetch<T>>,
    failure: Option<Failure>,
    demanded_at: Option<Moment>,
    task: Option<AbortHandle>,
}

impl<T> Default for Fetches<T> {
    fn default() -> Self {
        Self { pending: None, failure: None, demanded_at: None, task: None }
    }
}

impl<S: Source> SharedRefresher<S> {
    fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    fn fetches(&self) -> MutexGuard<'_, Fetches<S::Value>> {
        // The state is consistent at every point that could panic.
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the last fetch failed and the next one waits for a caller.
    fn waits_for_retry(&self, now: Moment) -> bool {
        // The value is read for each JWT, so those that are renewed ahead take no lock.
        !self.renews_ahead
            && self
                .fetches()
                .failure
                .as_ref()
                .is_some_and(|failure| failure.cooldown_error(now).is_none())
    }

    /// Returns the fetch under way, or starts one if no cooldown forbids it.
    fn start(
        self: &Arc<Self>,
        now: Moment,
        on_demand: bool,
    ) -> Result<PendingFetch<S::Value>, VerifyError> {
        self.start_locked(&mut self.fetches(), now, on_demand)
    }

    /// Does the same as `start`, but starts no fetch within `interval` of the previous one on
    /// demand.
    fn start_within(
        self: &Arc<Self>,
        interval: Duration,
    ) -> Result<Option<PendingFetch<S::Value>>, VerifyError> {
        let now = self.now();
        let mut fetches = self.fetches();
        let under_way = fetches.pending.as_ref().is_some_and(|pending| !pending.is_lost(now));
        let wait = fetches.demanded_at.and_then(|at| interval.checked_sub(now.since(at)));
        if let (false, Some(wait)) = (under_way, wait.filter(|wait| !wait.is_zero())) {
            return match &fetches.failure {
                Some(failure) => Err(failure.error_with_wait(wait)),
                None => Ok(None),
            };
        }
        let pending = self.start_locked(&mut fetches, now, true)?;
        if !under_way {
            fetches.demanded_at = Some(now);
        }
        Ok(Some(pending))
    }

    fn start_locked(
        self: &Arc<Self>,
        fetches: &mut Fetches<S::Value>,
        now: Moment,
        on_demand: bool,
    ) -> Result<PendingFetch<S::Value>, VerifyError> {
        match &fetches.pending {
            Some(pending) if pending.is_lost(now) => {
                fetches.pending = None;
                fetches.failure = Some(Failure::lost(now, fetches.failure.as_ref()));
            }
            Some(pending) => return Ok(pending.clone()),
            None => {}
        }
        let failure = fetches.failure.as_ref();
        if let Some(error) = failure.and_then(|failure| failure.cooldown_error(now)) {
            return Err(error);
        }
        let runtime = Handle::try_current().map_err(|error| {
            VerifyError::new(ErrorKind::Unavailable)
                .with_context("nothing can be fetched outside of a Tokio runtime")
                .with_source(error)
        })?;
        let (sender, pending) = PendingFetch::new(on_demand, now);
        fetches.pending = Some(pending.clone());
        let last = self.entry.read(|entry| Arc::clone(&entry.value));
        let fetch = run_fetch(Arc::clone(&self.source), Arc::downgrade(self), last, now, sender);
        let task = runtime.spawn(fetch);
        // The previous task has ended, is lost, or only waits to start this fetch.
        if let Some(before) = fetches.task.replace(task.abort_handle()) {
            before.abort();
        }
        Ok(pending)
    }

    /// Stores an outcome, and returns it with the time to wait for the next fetch.
    fn store_outcome(
        &self,
        started: Moment,
        outcome: Result<Fetched<S::Value>, VerifyError>,
    ) -> (Outcome<S::Value>, Duration) {
        let now = self.now();
        let mut fetches = self.fetches();
        fetches.pending = None;
        match outcome {
            Ok(Fetched { value, fresh_for }) => {
                fetches.failure = None;
                let before = self.entry.read(|entry| Arc::clone(&entry.value));
                let value = match before {
                    Some(before) => S::successor(value, &before),
                    None => value,
                };
                let entry = Entry { value: Arc::clone(&value), fetched_at: started, fresh_for };
                self.entry.store(entry);
                (Ok(value), (fresh_for * 4 / 5).saturating_sub(now.since(started)))
            }
            Err(error) => {
                let failure = Failure::new(now, error, fetches.failure.as_ref());
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

/// Runs one fetch, then waits to start the next one if the refresher works ahead of time. Does not
/// keep `owner` alive.
async fn run_fetch<S: Source>(
    source: Arc<S>,
    owner: Weak<SharedRefresher<S>>,
    last: Option<Arc<S::Value>>,
    started: Moment,
    sender: watch::Sender<Option<Outcome<S::Value>>>,
) {
    let outcome = source.fetch(last).await;
    let Some(inner) = owner.upgrade() else { return };
    let (outcome, wait) = inner.store_outcome(started, outcome);
    sender.send_replace(Some(outcome));
    if !inner.renews_ahead {
        return;
    }
    drop((source, sender, inner));
    tokio::time::sleep(wait).await;
    if let Some(inner) = owner.upgrade() {
        let _ = inner.start(inner.now(), false);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
