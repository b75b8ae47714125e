use std::{sync::Arc, time::Duration};

use tokio::{runtime::TryCurrentError, sync::watch};

use crate::{
    clock::Moment,
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// The pause after a first failure. Each further failure doubles it.
pub(crate) const FIRST_COOLDOWN: Duration = Duration::from_secs(1);

/// The longest pause that the doubling leads to.
pub(crate) const MAX_COOLDOWN: Duration = Duration::from_secs(30);

/// The longest pause while there is no value that may be used.
pub(crate) const MAX_COOLDOWN_WITHOUT_VALUE: Duration = Duration::from_secs(5);

/// The longest `Retry-After` that is honored. A longer one is shortened to this.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The time after which a fetch counts as lost. A working fetch ends well before.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(10);

/// The outcome of a fetch.
pub(super) type Outcome<T> = Result<Arc<T>, VerifyError>;

/// A fetch that ended.
pub(super) struct Ended<T> {
    pub(super) began: Moment,
    pub(super) outcome: Outcome<T>,
}

impl<T> Clone for Ended<T> {
    fn clone(&self) -> Self {
        Self { began: self.began, outcome: self.outcome.clone() }
    }
}

/// A fetch under way.
pub(crate) struct PendingFetch<T> {
    started: Moment,
    outcome: watch::Receiver<Option<Outcome<T>>>,
}

impl<T> Clone for PendingFetch<T> {
    fn clone(&self) -> Self {
        Self { outcome: self.outcome.clone(), ..*self }
    }
}

impl<T> PendingFetch<T> {
    pub(super) fn new(started: Moment) -> (watch::Sender<Option<Outcome<T>>>, Self) {
        let (sender, outcome) = watch::channel(None);
        (sender, Self { started, outcome })
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
    /// Creates the failure that follows on `before`. Its cooldown is short if there is no value
    /// that may be used.
    pub(super) fn new(
        at: Moment,
        error: VerifyError,
        before: Option<&Self>,
        has_value: bool,
    ) -> Self {
        let count = before.map_or(0, |before| before.count.saturating_add(1));
        let doubled = FIRST_COOLDOWN.saturating_mul(2_u32.saturating_pow(count));
        let wanted = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
        let limit = if has_value { Duration::MAX } else { MAX_COOLDOWN_WITHOUT_VALUE };
        let cooldown = doubled.min(MAX_COOLDOWN).max(wanted).min(limit);
        let since = before.map_or(at, |before| before.since);
        Self { at, since, count, cooldown, error }
    }

    /// Returns the kind of this failure and the time of the first one in the series.
    pub(super) fn kind_and_start(&self) -> (ErrorKind, Moment) {
        (self.error.kind(), self.since)
    }

    /// Creates the failure of a fetch that ended without an outcome.
    pub(super) fn lost(at: Moment, before: Option<&Self>, has_value: bool) -> Self {
        Self::new(at, lost(), before, has_value)
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

/// Returns the error of a fetch for which there is no runtime.
pub(super) fn no_runtime(error: TryCurrentError) -> VerifyError {
    VerifyError::new(ErrorKind::Unavailable)
        .with_context("nothing can be fetched outside of a Tokio runtime")
        .with_source(error)
}

fn lost() -> VerifyError {
    VerifyError::new(ErrorKind::Unavailable)
        .with_context("the fetch ended without an outcome")
        .with_retry_after(FIRST_COOLDOWN)
}
