//! The settings of streams.

use std::time::Duration;

use http::HeaderValue;

use super::end::POLICY_VIOLATION;

/// The maximum life of a stream whose token names no expiry.
const DEFAULT_LIFE_WITHOUT_EXPIRY: Duration = Duration::from_secs(3600);

/// The settings of the streams of a layer.
#[derive(Clone, Debug)]
pub(crate) struct StreamSettings {
    pub(crate) max_life: Option<Duration>,
    /// False if the token is only held against its expiry, the cutoffs and the keys in use.
    pub(crate) verifies_again: bool,
    pub(crate) close_code: u16,
    /// The name of the last event of a server-sent event stream.
    pub(crate) last_event: Option<HeaderValue>,
}

impl StreamSettings {
    pub(crate) const fn new() -> Self {
        Self {
            max_life: None,
            verifies_again: true,
            close_code: POLICY_VIOLATION,
            last_event: None,
        }
    }

    /// Returns the maximum life of a stream, if it has one.
    pub(super) fn max_life_of(&self, has_expiry: bool) -> Option<Duration> {
        self.max_life.or((!has_expiry).then_some(DEFAULT_LIFE_WITHOUT_EXPIRY))
    }
}
