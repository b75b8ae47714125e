//! A proof between its checks and its mark, and the record that it was marked.

use std::{fmt, sync::Arc};

use super::store::{Mark, Marked, Marking, Outcome, ReplayStore};
use crate::{
    clock::Moment,
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// A proof that is good unless it was used before.
pub(crate) struct PendingMark {
    store: Arc<dyn ReplayStore>,
    mark: Mark,
}

/// A request extension that says that this layer or an outer one marked the proof of the request.
///
/// It keeps an inner layer from counting the same proof as a second use, and so does it a second
/// decision of the same layer. Only this crate creates one, and only for the request it is attached
/// to.
#[derive(Clone)]
pub(crate) struct MarkedProof {
    store: Arc<dyn ReplayStore>,
    key: [u8; 32],
    at: Moment,
}

#[cfg(feature = "dpop")]
impl MarkedProof {
    /// Returns when the proof was found to be good, if it was marked in this store.
    pub(crate) fn checked_at(&self, store: &Arc<dyn ReplayStore>) -> Option<Moment> {
        Arc::ptr_eq(&self.store, store).then_some(self.at)
    }
}

impl PendingMark {
    #[cfg(feature = "dpop")]
    pub(crate) fn new(store: &Arc<dyn ReplayStore>, mark: Mark) -> Self {
        Self { store: Arc::clone(store), mark }
    }

    /// Returns true if an outer layer marked this proof of this request in the same store.
    #[cfg(feature = "dpop")]
    pub(crate) fn was_marked_by(&self, marked: &MarkedProof) -> bool {
        Arc::ptr_eq(&self.store, &marked.store) && self.mark.key == marked.key
    }

    pub(crate) fn mark(&self) -> Marking {
        self.store.mark(self.mark.clone())
    }

    pub(crate) fn into_marked_proof(self) -> MarkedProof {
        MarkedProof { store: self.store, key: self.mark.key, at: self.mark.at }
    }
}

impl fmt::Debug for PendingMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingMark").finish_non_exhaustive()
    }
}

impl fmt::Debug for MarkedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarkedProof").finish_non_exhaustive()
    }
}

/// Turns the outcome of marking into the verdict on the request.
pub(crate) fn replay_verdict(outcome: Outcome) -> Result<(), VerifyError> {
    match outcome {
        Ok(Marked::First) => Ok(()),
        Ok(Marked::Replayed) => {
            Err(VerifyError::new(ErrorKind::InvalidProof).with_context("the proof was used before"))
        }
        Err(error) => Err(VerifyError::new(ErrorKind::ReplayUnavailable).with_source(error)),
    }
}
