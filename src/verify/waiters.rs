//! Counts the requests that wait for a verification.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

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
