//! Counts the requests that wait for a verification, and names the cache that stores its outcome.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::active::ActiveToken;
use crate::{clock::Moment, credentials::token::Token, error::refusal::VerifyError};

type Outcome = Result<ActiveToken, VerifyError>;

/// The count of a verification that was given up, because no request waited for it.
const GIVEN_UP: usize = usize::MAX;

/// The number of requests that wait for a verification.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiters(Arc<AtomicUsize>);

impl Waiters {
    /// Adds a waiting request, unless the verification was given up.
    #[cfg(feature = "_crypto")]
    pub(crate) fn join(&self) -> Option<Waiter> {
        let add = |count: usize| count.checked_add(1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).ok()?;
        Some(Waiter(Arc::clone(&self.0)))
    }

    /// Adds the request that the verification is made for.
    #[cfg(feature = "_crypto")]
    pub(crate) fn first(&self) -> Waiter {
        self.0.store(1, Ordering::Release);
        Waiter(Arc::clone(&self.0))
    }

    /// Gives the verification up if no request waits for it. Returns true if it is given up.
    #[cfg(feature = "_crypto")]
    pub(crate) fn give_up_if_unused(&self) -> bool {
        let swapped = self.0.compare_exchange(0, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
        matches!(swapped, Ok(_) | Err(GIVEN_UP))
    }
}

/// A request that waits for a verification, until it is dropped.
#[cfg(feature = "_crypto")]
#[derive(Debug)]
pub(crate) struct Waiter(Arc<AtomicUsize>);

#[cfg(feature = "_crypto")]
impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A cache that keeps the outcome of a verification before anyone else learns of it.
///
/// A request that comes right after the outcome then finds it in the cache, and causes no further
/// verification.
#[derive(Clone)]
pub(crate) struct Keeper {
    pub(crate) cache: Weak<dyn Keep>,
    pub(crate) started: Moment,
    /// The number of evictions before the start.
    pub(crate) evictions: u64,
}

/// The part of a cache that a [`Keeper`] calls.
pub(crate) trait Keep: Send + Sync {
    /// Keeps the outcome of a verification, unless an eviction came after its start.
    fn keep(&self, token: &Token, started: Moment, evictions: u64, outcome: &Outcome);
}

impl Keeper {
    #[cfg(feature = "_crypto")]
    pub(crate) fn keep(&self, token: &Token, outcome: &Outcome) {
        if let Some(cache) = self.cache.upgrade() {
            cache.keep(token, self.started, self.evictions, outcome);
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}
