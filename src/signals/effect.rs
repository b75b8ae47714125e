//! The effect of a signal.

use crate::revocation::{cutoff::Cutoff, revocations::Revocations};

/// The effect of a signal on the tokens that it names.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// They are revoked.
    Revoke(Cutoff),
    /// What is known about them is asked anew.
    AskAnew(Cutoff),
}

impl Effect {
    pub(super) fn apply(&self, revocations: &Revocations) {
        match self {
            Self::Revoke(cutoff) => revocations.revoke(cutoff),
            Self::AskAnew(cutoff) => revocations.outdate(cutoff),
        }
    }
}
