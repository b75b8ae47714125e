//! Reports the outcomes of signals.

use super::events;
#[cfg(feature = "metrics")]
use super::metrics;

/// The receiver of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    Logout,
    Event,
    Operator,
}

impl Receiver {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Event => "event",
            Self::Operator => "operator",
        }
    }
}

/// The outcome of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    /// It was applied before.
    Repeated,
    /// Verified, and of no effect: an unknown event, or one about another issuer.
    Ignored,
    Refused,
    /// It waits for keys.
    Kept,
    Lost,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Repeated => "repeated",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Kept => "kept",
            Self::Lost => "lost",
        }
    }
}

/// Counts a signal.
pub(crate) fn signal(receiver: Receiver, outcome: Outcome) {
    #[cfg(feature = "metrics")]
    metrics::signal(receiver.as_str(), outcome.as_str());
    #[cfg(not(feature = "metrics"))]
    let _ = (receiver, outcome);
}

/// Counts and reports a signal of an issuer that was verified.
pub(crate) fn signal_verified(receiver: Receiver, outcome: Outcome, issuer: &str) {
    events::signal_verified(receiver.as_str(), outcome.as_str(), issuer);
    signal(receiver, outcome);
}

/// Reports that the events of a transmitter can't be polled, or can again.
pub(crate) fn polls(issuer: &str, failure: Option<&'static str>) {
    events::polls(issuer, failure);
}

/// Counts and reports a signal that was refused, for a reason in words of this crate.
pub(crate) fn signal_refused(receiver: Receiver, reason: &'static str) {
    events::signal_refused(receiver.as_str(), reason);
    signal(receiver, Outcome::Refused);
}

/// Reports a verified signal that does not have the effect that its sender wants.
pub(crate) fn signal_without_effect(receiver: Receiver, issuer: &str, reason: &'static str) {
    events::signal_without_effect(receiver.as_str(), issuer, reason);
}

/// Reports a signal that is dropped although nobody could verify it.
pub(crate) fn signal_lost(receiver: Receiver, issuer: &str, reason: &'static str) {
    events::signal_lost(receiver.as_str(), issuer, reason);
}
