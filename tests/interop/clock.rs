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
pub(crate) struct Ahead(Arc<AtomicU64>);

impl Ahead {
    pub(crate) fn by(&self, duration: Duration) {
        self.0.fetch_add(duration.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> UnixTime {
        SystemClock.now().saturating_add(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
}
