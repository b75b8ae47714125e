//! The state of the signals of an issuer.

/// The state of the signals about the tokens of an issuer.
///
/// Signals only make a revocation faster. While they are stale, and where there are none, a revocation
/// holds within the bound of [`max_age`](crate::resource_server::ResourceServerBuilder::max_age).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SignalState {
    /// The sender has shown within the expected time that its signals arrive.
    Fresh,
    /// The sender has not shown that its signals arrive, has paused them, or one was lost.
    Stale,
}

impl SignalState {
    /// Returns the name used in the body of the readiness service: `fresh` or `stale`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
        }
    }
}
