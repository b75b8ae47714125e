//! The state of an issuer that was resolved.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    clock::Moment,
    resource_server::trusted::TrustedIssuer,
    verify::{boxed::BoxVerifier, stats::Stats},
};

/// An issuer whose state is kept.
#[derive(Clone)]
pub(super) struct Tenant {
    pub(super) verifier: BoxVerifier,
    pub(super) state: Arc<TenantState>,
    /// The time at which the resolver last confirmed the issuer.
    pub(super) since: Moment,
}

/// The state of a kept issuer. Its counters are saved on drop, because counters must not shrink
/// when tokens of other issuers push it out.
pub(super) struct TenantState {
    pub(super) trusted: TrustedIssuer,
    pub(super) dropped: Arc<DroppedStats>,
}

/// The summed counters of issuers whose state was dropped.
#[derive(Default)]
pub(super) struct DroppedStats(Mutex<Stats>);

impl DroppedStats {
    pub(super) fn lock(&self) -> MutexGuard<'_, Stats> {
        // The value is consistent at every point that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TenantState {
    fn drop(&mut self) {
        let counted = self.trusted.stats().counters_only();
        let mut dropped = self.dropped.lock();
        *dropped = dropped.merge(counted);
    }
}
