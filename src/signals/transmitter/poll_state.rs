//! The success or failure of the polls of a stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::TransmitterErrorKind;
use crate::{
    clock::{Clock, Moment},
    error::config::ConfigError,
    telemetry::signals::polls,
};

/// The state of the polls of one receiver.
#[derive(Debug)]
pub(in crate::signals) struct PollState {
    /// The issuer of the transmitter.
    issuer: Arc<str>,
    clock: Arc<dyn Clock>,
    polls: Mutex<Polls>,
}

#[derive(Debug, Default)]
struct Polls {
    /// True while there is a poller.
    is_claimed: bool,
    /// The last failure, and the time of the first one in the current series.
    failing: Option<(TransmitterErrorKind, Moment)>,
}

impl PollState {
    pub(in crate::signals) fn new(issuer: &str, clock: Arc<dyn Clock>) -> Self {
        Self { issuer: issuer.into(), clock, polls: Mutex::default() }
    }

    /// Returns the kind of the last failure, and the time of the first one since the last success.
    pub(in crate::signals) fn failing(&self) -> Option<(TransmitterErrorKind, Moment)> {
        self.polls().failing
    }

    /// Notes a poll that succeeded.
    pub(super) fn succeeded(&self) {
        let before = self.polls().failing.take();
        if before.is_some() {
            polls(&self.issuer, None);
        }
    }

    /// Notes a poll that failed.
    pub(in crate::signals) fn failed(&self, kind: TransmitterErrorKind) {
        let now = Moment::now(&*self.clock);
        let before = {
            let mut polls = self.polls();
            let since = polls.failing.map_or(now, |(_, since)| since);
            polls.failing.replace((kind, since))
        };
        // Polls are repeated for as long as they fail.
        if before.is_none_or(|(before, _)| before != kind) {
            polls(&self.issuer, Some(kind.as_str()));
        }
    }

    /// Returns the right to poll, which one poller has at a time.
    pub(super) fn claim(self: &Arc<Self>) -> Result<PollClaim, ConfigError> {
        let before = std::mem::replace(&mut self.polls().is_claimed, true);
        if before {
            return Err(ConfigError::of("poller", "the receiver has a poller already"));
        }
        Ok(PollClaim(Arc::clone(self)))
    }

    fn polls(&self) -> MutexGuard<'_, Polls> {
        self.polls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to poll, until it is dropped.
#[derive(Debug)]
pub(super) struct PollClaim(Arc<PollState>);

impl PollClaim {
    pub(super) fn state(&self) -> &PollState {
        &self.0
    }
}

impl Drop for PollClaim {
    fn drop(&mut self) {
        self.0.polls().is_claimed = false;
    }
}
