//! Bounds the calls of the resolver that are under way.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{kind::ErrorKind, refusal::VerifyError};

/// How long a call waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The number of calls that may wait for each one that may be under way.
const WAITING_PER_CALL: usize = 32;

/// The number of confirmed issuers that are remembered for each one whose state is kept.
const CONFIRMED_PER_KEPT: usize = 8;

/// A share of the calls. Others have one of their own, so that they need not wait for these.
pub(super) struct Lane {
    /// One permit for each call that may be under way.
    turns: Arc<Semaphore>,
    /// One permit for each call that may be under way or wait.
    places: Arc<Semaphore>,
}

/// The right to wait for a turn, and then to have it.
pub(super) struct Place {
    turns: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

impl Lane {
    /// Creates a share of this many calls, at least one.
    pub(super) fn new(calls: usize) -> Self {
        let calls = calls.clamp(1, Semaphore::MAX_PERMITS / (1 + WAITING_PER_CALL));
        let turns = Arc::new(Semaphore::new(calls));
        Self { turns, places: Arc::new(Semaphore::new(calls * (1 + WAITING_PER_CALL))) }
    }

    /// Returns a place, if there is one. Never waits.
    pub(super) fn enter(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { turns: Arc::clone(&self.turns), _place: place })
    }
}

impl Place {
    /// Waits for a turn, for a bounded time.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        tokio::time::timeout(MAX_WAIT, turn).await.ok()?.ok()
    }
}

/// Returns the error for a call that is not made because too many others are under way.
pub(super) fn busy() -> VerifyError {
    VerifyError::new(ErrorKind::Unavailable)
        .with_context("too many issuers are being resolved")
        .with_retry_after(MAX_WAIT)
}

/// The issuers that the resolver has known, bounded in number. Made-up ones don't get in.
pub(super) struct ConfirmedIssuers {
    /// A hash stands for its issuer. A collision only gives a stranger the other share.
    hashes: Cache<u64, ()>,
    hasher: RandomState,
}

impl ConfirmedIssuers {
    /// Creates a set that outlasts the state of `kept` issuers.
    pub(super) fn new(kept: usize) -> Self {
        let capacity = kept.saturating_mul(CONFIRMED_PER_KEPT).max(1);
        Self { hashes: Cache::new(capacity), hasher: RandomState::new() }
    }

    pub(super) fn insert(&self, issuer: &str) {
        self.hashes.insert(self.hasher.hash_one(issuer), ());
    }

    pub(super) fn remove(&self, issuer: &str) {
        self.hashes.remove(&self.hasher.hash_one(issuer));
    }

    pub(super) fn contains(&self, issuer: &str) -> bool {
        self.hashes.get(&self.hasher.hash_one(issuer)).is_some()
    }
}
