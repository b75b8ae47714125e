//! Limits the rate of events, so that no client can fill a log by sending requests.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

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

/// The maximum number of issuers and subjects of an [`IssuerLimiter`]. Issuers that are resolved at
/// run time are of any number.
const MAX_ISSUERS: usize = 256;

/// The time in which an [`IssuerLimiter`] lets one event through.
const MINUTE: Duration = Duration::from_secs(60);

/// A limiter that lets one event of each issuer and subject through in a minute.
///
/// A holder of a good token can cause these events at will, and they are written at the usual level
/// of a service.
pub(super) struct IssuerLimiter(Mutex<Vec<Written>>);

struct Written {
    issuer: Box<str>,
    subject: &'static str,
    at: Moment,
}

impl IssuerLimiter {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns true if an event may be written now.
    pub(super) fn is_due(&self, issuer: &str, subject: &'static str, now: Moment) -> bool {
        self.check(issuer, subject, now).1
    }

    /// Does the same, and notes that the event is written.
    pub(super) fn allow(&self, issuer: &str, subject: &'static str, now: Moment) -> bool {
        let (mut recent, is_due) = self.check(issuer, subject, now);
        if is_due {
            recent.push(Written { issuer: issuer.into(), subject, at: now });
        }
        is_due
    }

    /// Returns the events of the last minute, and whether there may be this one too.
    fn check(
        &self,
        issuer: &str,
        subject: &'static str,
        now: Moment,
    ) -> (MutexGuard<'_, Vec<Written>>, bool) {
        // Poisoning can be ignored: the state is consistent at every point that could panic.
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|written| now.monotonic_since(written.at) < MINUTE);
        let is_same = |of: &Written| of.subject == subject && *of.issuer == *issuer;
        let is_due = recent.len() < MAX_ISSUERS && !recent.iter().any(is_same);
        (recent, is_due)
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test(start_paused = true)]
    async fn one_event_a_minute_is_allowed_for_each_issuer_and_subject_and_their_number_is_bounded()
    {
        let limiter = IssuerLimiter::new();
        let now = || Moment::now(&FixedClock(0));
        for (issuer, subject) in [("a", "x"), ("a", "y"), ("b", "x")] {
            assert!(limiter.is_due(issuer, subject, now()), "{issuer} {subject}");
            assert!(limiter.allow(issuer, subject, now()), "{issuer} {subject}");
            assert!(!limiter.is_due(issuer, subject, now()), "{issuer} {subject}");
            assert!(!limiter.allow(issuer, subject, now()), "{issuer} {subject}");
        }
        let allowed = (0..1_000).filter(|n| limiter.allow(&format!("issuer {n}"), "x", now()));
        assert_eq!(allowed.count(), MAX_ISSUERS - 3);
        tokio::time::advance(MINUTE - Duration::from_millis(1)).await;
        assert!(!limiter.allow("a", "x", now()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(limiter.allow("a", "x", now()));
        assert_eq!(limiter.0.lock().unwrap().len(), 1);
    }
}
