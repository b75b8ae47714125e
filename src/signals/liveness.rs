//! Knows whether signals arrive.

use std::{
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::{Clock, Moment, UnixTime},
    signals::transmitter::poll_state::PollState,
    telemetry::signal_state::SignalState,
};

/// The time for which signals are stale after one was lost.
const LOST_FOR: Duration = Duration::from_secs(60 * 60);

/// The time for which polls may fail before signals are stale.
const POLLS_FAIL_FOR: Duration = Duration::from_secs(60);

/// The maximum number of issuers about which a signal was lost.
const MAX_LOST: usize = 1000;

/// The evidence that the signals of one sender arrive.
///
/// It decides about no token. Readiness and metrics show it.
#[derive(Debug)]
pub(super) struct Liveness {
    /// The issuers that a transmitter speaks for. Empty for senders of logouts.
    issuers: Vec<Arc<str>>,
    clock: Arc<dyn Clock>,
    /// The longest time between two verification events, if any are expected.
    expected: Option<Duration>,
    /// The polls of its events, if it is a transmitter.
    polls: Option<Arc<PollState>>,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    verified_at: Option<Moment>,
    /// True if the sender said that it has stopped.
    is_stopped: bool,
    /// The time at which the sender said so, by its clock.
    status_at: UnixTime,
    lost: Vec<(Arc<str>, Moment)>,
}

impl Liveness {
    /// Creates the evidence about senders of logouts, which send no verification events.
    pub(super) fn of_logouts(clock: Arc<dyn Clock>) -> Self {
        let (issuers, heard) = (Vec::new(), Mutex::default());
        Self { issuers, clock, expected: None, polls: None, heard }
    }

    /// Creates the evidence about a transmitter that speaks for these issuers.
    pub(super) fn of_transmitter(
        issuers: Vec<Arc<str>>,
        expected: Option<Duration>,
        polls: Arc<PollState>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { issuers, clock, expected, polls: Some(polls), heard: Mutex::default() }
    }

    /// Notes a verification event, which shows that events arrive. It does not bring back one that was
    /// lost.
    pub(super) fn verified(&self) {
        let now = Moment::now(&*self.clock);
        self.heard().verified_at = Some(now);
    }

    /// Notes that the sender has stopped, or goes on.
    ///
    /// `said_at` is the time of the statement. A statement from before the last one is ignored, because
    /// events may come in any order.
    pub(super) fn set_stopped(&self, is_stopped: bool, said_at: UnixTime) {
        // A time that is ahead must not hide what is said later.
        let said_at = said_at.min(Moment::now(&*self.clock).wall());
        let mut heard = self.heard();
        if said_at >= heard.status_at {
            (heard.is_stopped, heard.status_at) = (is_stopped, said_at);
        }
    }

    /// Notes that a signal of this sender was lost. It may be about all issuers that a transmitter
    /// speaks for.
    pub(super) fn lost(&self, sender: &Arc<str>) {
        let now = Moment::now(&*self.clock);
        let about = if self.issuers.is_empty() { slice::from_ref(sender) } else { &*self.issuers };
        let mut heard = self.heard();
        for issuer in about {
            heard.lost.retain(|(name, _)| name != issuer);
            heard.lost.push((Arc::clone(issuer), now));
        }
        // Issuers may be found by a resolver, in any number.
        if heard.lost.len() > MAX_LOST.max(about.len()) {
            heard.lost.remove(0);
        }
    }

    /// Returns the state of the signals about the tokens of an issuer, or `None` if there is no evidence.
    pub(super) fn state_for(&self, issuer: &str) -> Option<SignalState> {
        let now = Moment::now(&*self.clock);
        let heard = self.heard();
        let is_lost = heard
            .lost
            .iter()
            .any(|(name, at)| **name == *issuer && now.monotonic_since(*at) < LOST_FOR);
        if is_lost {
            return Some(SignalState::Stale);
        }
        let speaks_for = self.issuers.iter().any(|name| **name == *issuer);
        let expected = self.expected.filter(|_| speaks_for);
        let recent = |at: Moment, within| now.monotonic_since(at) < within;
        let failing = self.polls.as_ref().and_then(|polls| polls.failing());
        let is_failing = failing.is_some_and(|(_, since)| !recent(since, POLLS_FAIL_FOR));
        if speaks_for && (heard.is_stopped || is_failing) {
            return Some(SignalState::Stale);
        }
        expected.map(|within| match heard.verified_at {
            Some(at) if recent(at, within) => SignalState::Fresh,
            _ => SignalState::Stale,
        })
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
