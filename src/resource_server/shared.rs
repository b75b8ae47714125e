//! Sharing with the other instances of a service.

use std::sync::Arc;

use crate::{
    clock::Clock,
    error::boxed::BoxError,
    proof::replay::store::ReplayStore,
    revocation::{feed::CutoffFeed, local::LocalCutoffs},
};

/// A tier that all instances of a service share, such as a Redis server.
///
/// The package `tower-introspect-redis` has one. The default of each part is that this instance has its
/// own.
pub trait SharedTier: Send + Sync + 'static {
    /// Returns a store of used proofs, so that all instances together accept a proof once.
    fn replay_store(&self) -> Option<Arc<dyn ReplayStore>> {
        None
    }

    /// Returns a feed of cutoffs, so that a cutoff of one instance holds in all. It is called when the
    /// resource server is built.
    ///
    /// `clock` is that of the resource server.
    ///
    /// # Errors
    ///
    /// Returns a problem with the settings.
    fn cutoff_feed(
        &self,
        local: LocalCutoffs,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn CutoffFeed>>, BoxError> {
        let _ = (local, clock);
        Ok(None)
    }
}
