//! A change of the cutoffs.

use super::cutoff::Cutoff;

/// A change of the cutoffs.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a feed that ignores a new kind would lose cutoffs")]
pub enum CutoffChange {
    /// Tokens are revoked ([`Revocations::revoke`](super::Revocations::revoke)).
    Revoke(Cutoff),
    /// Facts about tokens are outdated, and no token is revoked
    /// ([`Revocations::outdate`](super::Revocations::outdate)).
    Outdate(Cutoff),
}

impl CutoffChange {
    /// Returns the tokens that are concerned.
    pub const fn cutoff(&self) -> &Cutoff {
        let (Self::Revoke(cutoff) | Self::Outdate(cutoff)) = self;
        cutoff
    }
}
