use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    clock::Moment,
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// After a failure, this long nothing is fetched; twice as long after each further one.
pub(crate) const FIRST_COOLDOWN: Duration = Duration::from_secs(1);

/// Where the doubling ends.
pub(crate) const LAST_COOLDOWN: Duration = Duration::from_secs(30);

/// A longer `Retry-After` counts as this.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// A fetch ends well within this time, or else it is not run any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a fetch comes to.
pub(super) type Outcome<T> = Result<Arc<T>, VerifyError>;

/// A fetch under way.
pub(crate) struct Flight<T> {
    on_demand: bool,
    started: Moment,
    outcome: watch::Receiver<Option<Outcome<T>>>,
}

impl<T> Clone for Flight<T> {
    fn clone(&self) -> Self {
        Self { outcome: self.outcome.clone(), ..*self }
    }
}

impl<T> Flight<T> {
    pub(super) fn new(
        on_demand: bool,
        started: Moment,
    ) -> (watch::Sender<Option<Outcome<T>>>, Self) {
        let (sender, outcome) = watch::channel(None);
        (sender, Self { on_demand, started, outcome })
    }

    /// Whether a call of [`Refresher::renew`](super::Refresher::renew) started it. If not, it may
    /// have started before whatever made a later call necessary.
    pub(crate) fn is_on_demand(&self) -> bool {
        self.on_demand
    }

    /// Waits for the outcome.
    ///
    /// # Cancellation
    ///
    /// The fetch goes on.
    pub(crate) async fn landing(mut self) -> Outcome<T> {
        let landed = self.outcome.wait_for(Option::is_some);
        match tokio::time::timeout(PATIENCE, landed).await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or_else(|| Err(lost())),
            Ok(Err(_)) | Err(_) => Err(lost()),
        }
    }

    /// Whether there will be no outcome: the task panicked, or its runtime is gone or stands
    /// still.
    pub(super) fn is_lost(&self, now: Moment) -> bool {
        self.outcome.has_changed().is_err() || now.since(self.started) >= PATIENCE
    }
}

/// The last fetch failed.
pub(super) struct Failure {
    at: Moment,
    /// When the first of those right before came, or this one.
    since: Moment,
    /// How many failures came right before.
    count: u32,
    cooldown: Duration,
    error: VerifyError,
}

impl Failure {
    pub(super) fn new(at: Moment, error: VerifyError, before: Option<&Self>) -> Self {
        let count = before.map_or(0, |before| before.count.saturating_add(1));
        let doubled = FIRST_COOLDOWN.saturating_mul(2_u32.saturating_pow(count));
        let wanted = error.retry_after().unwrap_or_default().min(LONGEST_RETRY_AFTER);
        let cooldown = doubled.min(LAST_COOLDOWN).max(wanted);
        let since = before.map_or(at, |before| before.since);
        Self { at, since, count, cooldown, error }
    }

    /// What is wrong, and since when.
    pub(super) fn standing(&self) -> (ErrorKind, Moment) {
        (self.error.kind(), self.since)
    }

    /// A fetch that ended without an outcome.
    pub(super) fn lost(at: Moment, before: Option<&Self>) -> Self {
        Self::new(at, lost(), before)
    }

    /// How long nothing may be fetched because of it.
    pub(super) fn cooldown(&self) -> Duration {
        self.cooldown
    }

    /// The error, as long as nothing may be fetched because of it.
    pub(super) fn in_force(&self, now: Moment) -> Option<VerifyError> {
        let left = self.cooldown.checked_sub(now.since(self.at)).filter(|left| !left.is_zero())?;
        Some(self.error_for(left))
    }

    /// The error, where the next fetch is this far away.
    pub(super) fn error_for(&self, wait: Duration) -> VerifyError {
        self.error.clone().with_retry_after(wait)
    }
}

fn lost() -> VerifyError {
    VerifyError::new(ErrorKind::Unavailable)
        .with_context("the fetch ended without an outcome")
        .with_retry_after(FIRST_COOLDOWN)
}
