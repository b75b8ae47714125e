//! The time by which the clock of each issuer is known to be ahead.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use super::times::MAX_CLOCK_AHEAD;
use crate::{clock::UnixTime, verify::active::ActiveToken};

/// The number of issuers whose latest `iat` is kept.
const MAX_ISSUERS: usize = 10_000;

/// The latest `iat` among the admitted tokens of each issuer.
///
/// A cutoff without a time is set to it if it is later than our clock. Otherwise the cutoff would
/// miss tokens of an issuer whose clock is ahead. An issuer affects only its own cutoffs.
pub(super) struct LatestIat {
    /// The name under which facts remember that they were noted here. Never zero.
    id: u32,
    issuers: RwLock<Issuers>,
}

#[derive(Default)]
struct Issuers {
    latest: HashMap<u64, AtomicI64>,
    /// True if the latest `iat` of some issuer is not known although tokens were admitted.
    is_incomplete: bool,
}

impl LatestIat {
    pub(super) fn new() -> Self {
        static LAST_ID: AtomicU32 = AtomicU32::new(0);
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        Self { id, issuers: RwLock::default() }
    }

    /// Notes the `iat` of an admitted token, once for its facts.
    ///
    /// For facts from the cache this is one load, and no lock is taken.
    #[inline]
    pub(super) fn note(
        &self,
        active: &ActiveToken,
        issuer: impl FnOnce() -> u64,
        now: impl FnOnce() -> UnixTime,
    ) {
        if active.noted_by() != self.id {
            self.note_new(active, issuer(), now());
        }
    }

    fn note_new(&self, active: &ActiveToken, issuer: u64, now: UnixTime) {
        let Some(issued) = active.claims().issued_at() else {
            return active.set_noted_by(self.id);
        };
        // Only a policy with another clock admits a token issued further ahead.
        if issued > now.saturating_add(MAX_CLOCK_AHEAD) {
            return;
        }
        active.set_noted_by(self.id);
        let issuers = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(latest) = issuers.latest.get(&issuer) {
            latest.fetch_max(issued.as_millis(), Ordering::Relaxed);
            return;
        }
        drop(issuers);
        let mut issuers = self.issuers.write().unwrap_or_else(PoisonError::into_inner);
        if issuers.latest.len() >= MAX_ISSUERS && !issuers.latest.contains_key(&issuer) {
            issuers.is_incomplete = true;
            // The clock of the others is not known to be ahead.
            issuers.latest.retain(|_, latest| *latest.get_mut() > now.as_millis());
            if issuers.latest.len() >= MAX_ISSUERS {
                return;
            }
        }
        let latest = issuers.latest.entry(issuer).or_insert(AtomicI64::new(i64::MIN));
        latest.fetch_max(issued.as_millis(), Ordering::Relaxed);
    }

    /// Returns the current time of an issuer: `now`, or later if its clock is ahead.
    pub(super) fn time_of(&self, issuer: u64, now: UnixTime) -> UnixTime {
        let issuers = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        match issuers.latest.get(&issuer) {
            Some(latest) => now.max(UnixTime::from_millis(latest.load(Ordering::Relaxed))),
            None if issuers.is_incomplete => now.saturating_add(MAX_CLOCK_AHEAD),
            None => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        claims::claims_set::Claims,
        clock::{Moment, tests::FixedClock},
        verify::active::Method,
    };

    const NOW: UnixTime = UnixTime::from_secs(1_000);

    fn issued(at: i64) -> ActiveToken {
        let claims = Claims::from_json(format!("{{\"iat\":{at}}}").as_bytes()).unwrap();
        ActiveToken::new("https://as", claims, Method::Jwt, Moment::now(&FixedClock(1_000)))
    }

    #[test]
    fn facts_are_noted_once_by_each_set_of_revocations() {
        let (one, other) = (LatestIat::new(), LatestIat::new());
        let facts = issued(1_010);
        one.note(&facts, || 1, || NOW);
        one.note(&facts, || panic!("the issuer is not looked up again"), || NOW);
        assert_eq!(one.time_of(1, NOW), UnixTime::from_secs(1_010));
        assert_eq!(other.time_of(1, NOW), NOW);
        other.note(&facts, || 1, || NOW);
        assert_eq!(other.time_of(1, NOW), UnixTime::from_secs(1_010));
    }

    #[test]
    fn number_of_issuers_is_bounded_and_forgotten_ones_count_as_ahead() {
        let latest = LatestIat::new();
        for issuer in 0..30_000 {
            // Every other one is ahead.
            let at = if issuer % 2 == 0 { 1_005 } else { 995 };
            latest.note(&issued(at), || issuer, || NOW);
        }
        assert_eq!(latest.issuers.read().unwrap().latest.len(), MAX_ISSUERS);
        for issuer in 0..30_000 {
            assert!(
                latest.time_of(issuer, NOW)
                    >= UnixTime::from_secs(if issuer % 2 == 0 { 1_005 } else { 995 })
            );
        }
        assert_eq!(latest.time_of(29_998, NOW), UnixTime::from_secs(1_300));
    }
}
