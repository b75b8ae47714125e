//! When a value that is renewed ahead of time is fetched again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::turns::Turns;
use crate::clock::Moment;

/// The pause between fetches on demand, unless they bring nothing new.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);

/// The pause that the doubling leads to.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Returns the time after which a value is fetched again: 80 % of its freshness.
pub(crate) fn renewed_after(fresh_for: Duration) -> Duration {
    fresh_for * 4 / 5
}

/// The renewal of a value ahead of time, and its turns.
pub(super) struct Renewal {
    pub(super) turns: Arc<Turns>,
    usage: Usage,
}

impl Renewal {
    pub(super) fn new(turns: Arc<Turns>) -> Self {
        Self { turns, usage: Usage::default() }
    }

    pub(super) fn note_use(&self) {
        let Usage(usage) = &self.usage;
        // Read for each JWT, so it is written only once.
        if !usage.begun.load(Ordering::Relaxed) {
            usage.begun.store(true, Ordering::Release);
            usage.changed.notify_one();
        }
    }

    pub(super) fn is_in_use(&self) -> bool {
        self.usage.0.begun.load(Ordering::Acquire)
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage.clone()
    }
}

/// The use of a value. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Usage(Arc<UsageState>);

#[derive(Default)]
struct UsageState {
    begun: AtomicBool,
    changed: Notify,
}

impl Usage {
    /// Waits until the value is in use.
    pub(super) async fn begun(&self) {
        while !self.0.begun.load(Ordering::Acquire) {
            self.0.changed.notified().await;
        }
    }
}

/// The pause between the beginnings of two fetches on demand.
pub(super) struct Pause {
    began: Option<Moment>,
    length: Duration,
}

impl Pause {
    pub(super) fn note_begin(&mut self, now: Moment) {
        self.began = Some(now);
    }

    /// Shortens the pause, because a fetch brought something new.
    pub(super) fn reset(&mut self) {
        self.length = SHORTEST_PAUSE;
    }

    /// Doubles the pause, because a fetch brought nothing new. The server may ask for more.
    pub(super) fn double(&mut self, asked: Duration) {
        self.length = self.length.saturating_mul(2).max(asked).min(LONGEST_PAUSE);
    }

    /// Returns the time until the next fetch on demand may begin.
    pub(super) fn left(&self, now: Moment) -> Duration {
        // By the monotonic clock: a step of the wall clock must cause no fetch.
        let since = self.began.map(|began| now.monotonic_since(began));
        since.map_or(Duration::ZERO, |since| self.length.saturating_sub(since))
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self { began: None, length: SHORTEST_PAUSE }
    }
}
