//! Time that a test moves on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tower_introspect::clock::{Clock, SystemClock, UnixTime};

/// The clock of the system, some seconds ahead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead {
    by: Arc<AtomicU64>,
    stands_at: Option<UnixTime>,
}

impl Ahead {
    /// One that stands still but for what it is moved on, for a test that must not see a minute end.
    pub(crate) fn standing() -> Self {
        Self { stands_at: Some(SystemClock.now()), ..Self::default() }
    }

    pub(crate) fn by(&self, duration: Duration) {
        self.by.fetch_add(duration.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> UnixTime {
        let now = self.stands_at.unwrap_or_else(|| SystemClock.now());
        now.saturating_add(Duration::from_secs(self.by.load(Ordering::SeqCst)))
    }
}
