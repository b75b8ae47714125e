//! A limit to what is written, so that nobody can fill a log by sending requests.

use std::sync::{Mutex, PoisonError};

use crate::clock::Moment;

/// How many events of one reason are written in a second.
pub(super) const PER_SECOND: u32 = 10;

/// Lets a few events of each reason through in each second, and counts the others.
///
/// Reasons are names from a table of this crate, so there is a bounded number of them.
pub(super) struct Limiter(Mutex<Vec<Window>>);

struct Window {
    reason: &'static str,
    began: Moment,
    passed: u32,
    suppressed: u64,
}

impl Limiter {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Whether to write an event; if so, how many of its reason were left out since the last one.
    pub(super) fn pass(&self, reason: &'static str, now: Moment) -> Option<u64> {
        // Whole at every point that could panic.
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = windows.iter_mut().find(|window| window.reason == reason);
        let Some(window) = known else {
            windows.push(Window { reason, began: now, passed: 1, suppressed: 0 });
            return Some(0);
        };
        // A step of the wall clock must not open or shut it.
        if now.monotonic_since(window.began).as_secs() > 0 {
            (window.began, window.passed) = (now, 0);
        }
        if window.passed >= PER_SECOND {
            window.suppressed = window.suppressed.saturating_add(1);
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn each_reason_has_a_few_in_a_second_and_the_others_are_counted() {
        let limiter = Limiter::new();
        let pass = |reason| limiter.pass(reason, Moment::now(&SystemClock));
        for _ in 0..PER_SECOND {
            assert_eq!(pass("expired"), Some(0));
        }
        for _ in 0..1_000 {
            assert_eq!(pass("expired"), None);
        }
        assert_eq!(pass("inactive"), Some(0), "another reason");
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(pass("expired"), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(pass("expired"), Some(1_001));
        for _ in 1..PER_SECOND {
            assert_eq!(pass("expired"), Some(0));
        }
        assert_eq!(pass("expired"), None, "the second second is no longer than the first");
        assert_eq!(limiter.0.lock().unwrap().len(), 2);
    }
}
