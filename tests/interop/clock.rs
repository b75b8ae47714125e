//! A clock that a test moves forward.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tower_introspect::clock::{Clock, SystemClock, UnixTime};

/// The system clock, plus an offset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead {
    by: Arc<AtomicU64>,
    stands_at: Option<UnixTime>,
}

impl Ahead {
    /// Creates a clock that moves only when the test moves it, for a test during which no minute
    /// may end.
    pub(crate) fn stopped() -> Self {
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
