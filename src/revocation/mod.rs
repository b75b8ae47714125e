//! Revocation by cutoffs: tokens issued earlier, and verifications started earlier, no longer
//! count.

pub(crate) mod change;
pub(crate) mod cutoff;
mod doubt;
pub(crate) mod feed;
pub(crate) mod in_force;
mod latest_iat;
pub(crate) mod layer;
pub(crate) mod local;
pub(crate) mod revocations;
mod state;
mod table;
mod times;

pub use self::{
    change::CutoffChange,
    cutoff::Cutoff,
    feed::{CutoffFeed, FeedState, Flushing},
    in_force::InForce,
    layer::{RevocationCheck, RevocationLayer},
    local::LocalCutoffs,
    revocations::Revocations,
};

/// The future of the verifier.
pub mod future {
    pub use super::layer::RevocationFuture;
}
