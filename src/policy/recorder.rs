//! The recorder of the requirements that a request met, for a response that stays open.

use std::{fmt, sync::Arc};

use super::verified_token::Requirement;
use crate::error::refusal::VerifyError;

/// A place that records the requirements that a request met.
pub(crate) trait RecordMet: Send + Sync {
    /// Records that the request met `requirement`.
    ///
    /// # Errors
    ///
    /// If there are too many.
    fn record_met(&self, requirement: &Requirement) -> Result<(), VerifyError>;
}

/// A request extension that records the requirements that the request met.
///
/// Requirements, extractors and handlers inside of a layer for streams find it. Only this crate
/// creates one.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<dyn RecordMet>);

impl Recorder {
    pub(crate) fn new(place: Arc<dyn RecordMet>) -> Self {
        Self(place)
    }

    pub(super) fn record(&self, requirement: &Requirement) -> Result<(), VerifyError> {
        self.0.record_met(requirement)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
