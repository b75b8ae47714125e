//! Limits the rate of events, so that no client can fill a log by sending requests.

use std::sync::{Mutex, PoisonError};

use crate::clock::Moment;

/// The maximum number of events of one reason in a second.
pub(super) const PER_SECOND: u32 = 10;

/// A limiter that lets a few events of each reason through in each second and counts the others.
///
/// Its size is bounded, because reasons are names from a table of this crate.
pub(super) struct Limiter(Mutex<Vec<Window>>);

struct Window {
    reason: &'static str,
    began: Moment,
    allowed: u32,
    suppressed: u64,
}

impl Limiter {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns `None` if the event must not be written, else the number of events of its reason
    /// that were suppressed since the last one written.
    pub(super) fn allow(&self, reason: &'static str, now: Moment) -> Option<u64> {
        // Poisoning can be ignored: the state is consistent at every point that could panic.
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = windows.iter_mut().find(|window| window.reason == reason);
        let Some(window) = known else {
            windows.push(Window { reason, began: now, allowed: 1, suppressed: 0 });
            return Some(0);
        };
        // The monotonic clock, so that a step of the wall clock has no effect.
        if now.monotonic_since(window.began).as_secs() > 0 {
            (window.began, window.allowed) = (now, 0);
        }
        if window.allowed >= PER_SECOND {
            window.suppressed = window.suppressed.saturating_add(1);
            return None;
        }
        window.allowed += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::tests::FixedClock;

    #[tokio::test(start_paused = true)]
    async fn events_are_limited_per_second_and_reason_and_the_rest_counted() {
        let limiter = Limiter::new();
        let allow = |reason| limiter.allow(reason, Moment::now(&FixedClock(0)));
        for _ in 0..PER_SECOND {
            assert_eq!(allow("expired"), Some(0));
        }
        for _ in 0..1_000 {
            assert_eq!(allow("expired"), None);
        }
        assert_eq!(allow("inactive"), Some(0), "another reason");
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(allow("expired"), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(allow("expired"), Some(1_001));
        for _ in 1..PER_SECOND {
            assert_eq!(allow("expired"), Some(0));
        }
        assert_eq!(allow("expired"), None, "the second second is no longer than the first");
        assert_eq!(limiter.0.lock().unwrap().len(), 2);
    }
}
