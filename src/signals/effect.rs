//! The effect of a signal.

use crate::revocation::{cutoff::Cutoff, revocations::Revocations};

/// The effect of a signal on the tokens that it names.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// Revokes them.
    Revoke(Cutoff),
    /// Outdates facts about them, so that they are verified again. Revokes none.
    AskAnew(Cutoff),
}

impl Effect {
    /// Adds the cutoff to those in force.
    pub(super) fn apply(&self, revocations: &Revocations) {
        match self {
            Self::Revoke(cutoff) => revocations.revoke(cutoff),
            Self::AskAnew(cutoff) => revocations.outdate(cutoff),
        }
    }
}
