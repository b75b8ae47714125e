//! A count of changes that a task can wait for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, futures::Notified};

/// A count of changes, with a way to wait for the next one.
///
/// A waiter that reads the count first and finds it unchanged after it began to wait misses none.
#[derive(Debug)]
pub(crate) struct Changes {
    count: AtomicU64,
    next: Notify,
}

impl Changes {
    pub(crate) const fn new() -> Self {
        Self { count: AtomicU64::new(0), next: Notify::const_new() }
    }

    /// Counts a change and wakes all waiters.
    pub(crate) fn happened(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.next.notify_waiters();
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Waits for the next change after this call.
    pub(crate) fn next(&self) -> Notified<'_> {
        self.next.notified()
    }
}
