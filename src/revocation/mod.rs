//! Revocation by cutoffs: tokens issued earlier, and verifications started earlier, no longer
//! count.

pub(crate) mod cutoff;
pub(crate) mod in_force;
mod latest_iat;
pub(crate) mod layer;
pub(crate) mod revocations;
mod state;
mod table;
mod times;

pub use self::{
    cutoff::Cutoff,
    in_force::InForce,
    layer::{RevocationCheck, RevocationLayer},
    revocations::Revocations,
};

/// The future of the verifier.
pub mod future {
    pub use super::layer::RevocationFuture;
}
