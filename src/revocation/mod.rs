//! Revocation by cutoffs: tokens issued earlier, and verifications started earlier, no longer
//! count.

pub(crate) mod cutoff;
mod latest_iat;
pub(crate) mod layer;
pub(crate) mod revocations;
mod table;

pub use self::{
    cutoff::Cutoff,
    layer::{RevocationCheck, RevocationLayer},
    revocations::Revocations,
};

/// The future of the verifier.
pub mod future {
    pub use super::layer::RevocationFuture;
}
