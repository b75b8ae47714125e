use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    clock::Moment,
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// The pause after a first failure. Each further failure doubles it.
pub(crate) const FIRST_COOLDOWN: Duration = Duration::from_secs(1);

/// The longest pause that the doubling leads to.
pub(crate) const MAX_COOLDOWN: Duration = Duration::from_secs(30);

/// The longest `Retry-After` that is honored. A longer one is shortened to this.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The time after which a fetch counts as lost. A working fetch ends well before.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// The outcome of a fetch.
pub(super) type Outcome<T> = Result<Arc<T>, VerifyError>;

/// A fetch under way.
pub(crate) struct PendingFetch<T> {
    on_demand: bool,
    started: Moment,
    outcome: watch::Receiver<Option<Outcome<T>>>,
}

impl<T> Clone for PendingFetch<T> {
    fn clone(&self) -> Self {
        Self { outcome: self.outcome.clone(), ..*self }
    }
}

impl<T> PendingFetch<T> {
    pub(super) fn new(
        on_demand: bool,
        started: Moment,
    ) -> (watch::Sender<Option<Outcome<T>>>, Self) {
        let (sender, outcome) = watch::channel(None);
        (sender, Self { on_demand, started, outcome })
    }

    /// Returns true if a call of `renew` or `renew_in_background` started the fetch.
    ///
    /// Any other fetch may have started before the event that made a later call necessary.
    pub(crate) fn is_on_demand(&self) -> bool {
        self.on_demand
    }

    /// Waits for the outcome, for at most 10 s.
    ///
    /// # Cancellation
    ///
    /// The fetch continues.
    pub(crate) async fn outcome(mut self) -> Outcome<T> {
        let finished = self.outcome.wait_for(Option::is_some);
        match tokio::time::timeout(LOST_AFTER, finished).await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or_else(|| Err(lost())),
            Ok(Err(_)) | Err(_) => Err(lost()),
        }
    }

    /// Returns true if the fetch will have no outcome: its task panicked, or its runtime is gone or
    /// blocked.
    pub(super) fn is_lost(&self, now: Moment) -> bool {
        self.outcome.has_changed().is_err() || now.since(self.started) >= LOST_AFTER
    }
}

/// The failure of the last fetch.
pub(super) struct Failure {
    at: Moment,
    /// The time of the first failure in the current series.
    since: Moment,
    /// The number of failures before this one in the current series.
    count: u32,
    cooldown: Duration,
    error: VerifyError,
}

impl Failure {
    pub(super) fn new(at: Moment, error: VerifyError, before: Option<&Self>) -> Self {
        let count = before.map_or(0, |before| before.count.saturating_add(1));
        let doubled = FIRST_COOLDOWN.saturating_mul(2_u32.saturating_pow(count));
        let wanted = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
        let cooldown = doubled.min(MAX_COOLDOWN).max(wanted);
        let since = before.map_or(at, |before| before.since);
        Self { at, since, count, cooldown, error }
    }

    /// Returns the kind of this failure and the time of the first one in the series.
    pub(super) fn kind_and_start(&self) -> (ErrorKind, Moment) {
        (self.error.kind(), self.since)
    }

    /// Creates the failure of a fetch that ended without an outcome.
    pub(super) fn lost(at: Moment, before: Option<&Self>) -> Self {
        Self::new(at, lost(), before)
    }

    /// Returns the time for which this failure forbids another fetch.
    pub(super) fn cooldown(&self) -> Duration {
        self.cooldown
    }

    /// Returns the error while it forbids another fetch.
    pub(super) fn cooldown_error(&self, now: Moment) -> Option<VerifyError> {
        let left = self.cooldown.checked_sub(now.since(self.at)).filter(|left| !left.is_zero())?;
        Some(self.error_with_wait(left))
    }

    /// Returns the error, with the time to wait for the next fetch.
    pub(super) fn error_with_wait(&self, wait: Duration) -> VerifyError {
        self.error.clone().with_retry_after(wait)
    }
}

fn lost() -> VerifyError {
    VerifyError::new(ErrorKind::Unavailable)
        .with_context("the fetch ended without an outcome")
        .with_retry_after(FIRST_COOLDOWN)
}
