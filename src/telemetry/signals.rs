//! Reports the outcomes of signals.

#[cfg(feature = "metrics")]
use super::metrics;
#[cfg(feature = "tracing")]
use super::{
    events::{TARGET, limited, truncate_name},
    limit::Limiter,
};
#[cfg(feature = "tracing")]
use crate::clock::{Moment, SystemClock};

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
    signal(receiver, outcome);
    #[cfg(feature = "tracing")]
    {
        let (receiver, outcome) = (receiver.as_str(), outcome.as_str());
        let issuer = truncate_name(issuer);
        limited!(INFO, outcome, receiver, outcome, issuer, "signal received");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = issuer;
}

/// Counts and reports a signal that was refused, for a reason in words of this crate. Anyone can
/// cause it.
pub(crate) fn signal_refused(receiver: Receiver, reason: &'static str) {
    signal(receiver, Outcome::Refused);
    #[cfg(feature = "tracing")]
    limited!(DEBUG, reason, receiver = receiver.as_str(), reason, "signal refused");
    #[cfg(not(feature = "tracing"))]
    let _ = reason;
}

/// Reports a verified signal that does not have the effect that its sender wants. A setting is wrong.
pub(crate) fn signal_without_effect(receiver: Receiver, issuer: &str, reason: &'static str) {
    #[cfg(feature = "tracing")]
    {
        let (receiver, issuer) = (receiver.as_str(), truncate_name(issuer));
        limited!(WARN, reason, receiver, issuer, reason, "signal without its effect");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (receiver, issuer, reason);
}

/// Counts and reports a signal that is dropped although nobody could verify it.
pub(crate) fn signal_lost(receiver: Receiver, issuer: &str, reason: &'static str) {
    signal(receiver, Outcome::Lost);
    #[cfg(feature = "tracing")]
    {
        let (receiver, issuer) = (receiver.as_str(), truncate_name(issuer));
        limited!(ERROR, reason, receiver, issuer, reason, "signal lost");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, reason);
}

/// Reports that the events of a transmitter can't be polled, or can again.
pub(crate) fn polls(issuer: &str, failure: Option<&'static str>) {
    #[cfg(feature = "tracing")]
    {
        let issuer = truncate_name(issuer);
        match failure {
            Some(reason) => {
                tracing::warn!(target: TARGET, issuer, reason, "events can't be polled");
            }
            None => tracing::info!(target: TARGET, issuer, "events can be polled again"),
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, failure);
}
