//! The tokens that the server called active lately, and who has asked about what lately.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
    mem,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The time since the guard was created, by the monotonic clock.
pub(super) type Time = Duration;

/// How long a token counts as known to be good after the server called it active. It outlives the
/// facts in a cache, stale ones included.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(10 * 60);

/// The time within which failures count together.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// The maximum number of parties whose last outcomes are kept.
const MAX_PARTIES: usize = 10_000;

/// A keyed hash of a token, a subject or a tenant. No decision to admit depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u64);

impl Id {
    pub(super) fn of(value: impl Hash) -> Self {
        // Randomly keyed, so that a client can't choose values with the same hash.
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(KEY.hash_one(value))
    }
}

/// The fewest tokens of one tenant that are kept as known to be good.
const MIN_KNOWN: usize = 256;

/// The number of tokens that all tenants of a resource server may keep as known to be good.
#[derive(Debug)]
pub(super) struct KnownShare {
    total: usize,
    tenants: AtomicUsize,
}

impl KnownShare {
    pub(super) const fn new(total: usize) -> Self {
        Self { total, tenants: AtomicUsize::new(0) }
    }

    pub(super) fn add_tenant(&self) {
        self.tenants.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_tenant(&self) {
        self.tenants.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the number for each tenant.
    pub(super) fn each(&self) -> usize {
        let tenants = self.tenants.load(Ordering::Relaxed).max(1);
        (self.total / tenants).max(MIN_KNOWN)
    }
}

/// The tokens of one tenant that are known to be good, with their subjects.
///
/// Holds two generations. If the newer is full, the older is forgotten.
#[derive(Debug, Default)]
pub(super) struct KnownTokens {
    newer: HashMap<Id, Known>,
    older: HashMap<Id, Known>,
    last: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    at: Time,
    subject: Id,
}

impl KnownTokens {
    pub(super) fn insert(&mut self, token: Id, subject: Id, now: Time, capacity: usize) {
        if self.newer.len() >= capacity && !self.newer.contains_key(&token) {
            self.older = mem::take(&mut self.newer);
        }
        self.newer.insert(token, Known { at: now, subject });
        self.last = Some(now);
    }

    pub(super) fn remove(&mut self, token: Id) {
        self.newer.remove(&token);
        self.older.remove(&token);
    }

    /// Returns the subject of the token, if the token is known to be good at `now`.
    pub(super) fn subject(&self, token: Id, now: Time) -> Option<Id> {
        let known = self.newer.get(&token).or_else(|| self.older.get(&token))?;
        (now.saturating_sub(known.at) < KNOWN_FOR).then_some(known.subject)
    }

    /// Returns true if no token is known to be good at `now`.
    pub(super) fn is_empty(&self, now: Time) -> bool {
        self.last.is_none_or(|last| now.saturating_sub(last) >= KNOWN_FOR)
    }
}

/// The last outcome for each party of the last ten seconds: for each subject or each tenant.
#[derive(Debug, Default)]
pub(super) struct LastOutcomes {
    /// Each party's last outcome: when, and true if it failed.
    last: HashMap<Id, (Time, bool)>,
    /// All outcomes in order, to forget the old ones.
    order: VecDeque<(Time, Id)>,
    failed: usize,
}

impl LastOutcomes {
    pub(super) fn note(&mut self, party: Id, now: Time, failed: bool) {
        self.forget_old(now);
        if self.order.len() >= MAX_PARTIES {
            self.forget_first();
        }
        if let Some((_, true)) = self.last.insert(party, (now, failed)) {
            self.failed -= 1;
        }
        self.failed += usize::from(failed);
        self.order.push_back((now, party));
    }

    /// Returns true if at least three parties failed, and a share of at least 1/`share` of all.
    pub(super) fn many_failed(&mut self, now: Time, share: usize) -> bool {
        self.forget_old(now);
        self.failed >= 3 && self.failed * share >= self.last.len()
    }

    /// Returns true if some failed and none succeeded.
    pub(super) fn all_failed(&mut self, now: Time) -> bool {
        self.forget_old(now);
        self.failed > 0 && self.failed == self.last.len()
    }

    pub(super) fn forget_failures(&mut self) {
        self.last.retain(|_, (_, failed)| !*failed);
        self.failed = 0;
    }

    fn forget_old(&mut self, now: Time) {
        while self.order.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((at, party)) = self.order.pop_front() else { return };
        // A later outcome of the same party has an entry of its own in `order`.
        if self.last.get(&party).is_some_and(|(last, _)| *last == at)
            && let Some((_, true)) = self.last.remove(&party)
        {
            self.failed -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Time = Duration::from_secs(1);

    #[test]
    fn token_is_known_for_ten_minutes_after_it_was_active() {
        let mut known = KnownTokens::default();
        assert!(known.is_empty(SEC));
        known.insert(Id(1), Id(7), SEC, 10);
        assert_eq!(known.subject(Id(1), 600 * SEC), Some(Id(7)));
        assert_eq!(known.subject(Id(1), 601 * SEC), None);
        assert!(!known.is_empty(600 * SEC) && known.is_empty(601 * SEC));
        known.insert(Id(1), Id(7), 601 * SEC, 10);
        known.remove(Id(1));
        assert_eq!(known.subject(Id(1), 602 * SEC), None);
    }

    #[test]
    fn known_tokens_are_bounded_and_those_in_use_stay() {
        let mut known = KnownTokens::default();
        for number in 0..1_000 {
            known.insert(Id(number), Id(number), SEC, 10);
            known.insert(Id(0), Id(0), SEC, 10);
            assert!(known.newer.len() + known.older.len() <= 20);
        }
        assert!(known.subject(Id(0), SEC).is_some() && known.subject(Id(500), SEC).is_none());
    }

    #[test]
    fn share_of_known_tokens_is_divided_among_tenants() {
        let share = KnownShare::new(10_000);
        assert_eq!(share.each(), 10_000);
        (0..10).for_each(|_| share.add_tenant());
        assert_eq!(share.each(), 1_000);
        (0..1_000).for_each(|_| share.add_tenant());
        assert_eq!(share.each(), MIN_KNOWN);
        (0..1_005).for_each(|_| share.remove_tenant());
        assert_eq!(share.each(), 2_000);
    }

    #[test]
    fn three_parties_and_a_twentieth_must_fail_within_ten_seconds() {
        let mut outcomes = LastOutcomes::default();
        for party in 0..2 {
            outcomes.note(Id(party), SEC, true);
        }
        // One party counts once.
        outcomes.note(Id(0), 2 * SEC, true);
        assert!(!outcomes.many_failed(2 * SEC, 20) && outcomes.all_failed(2 * SEC));
        outcomes.note(Id(2), 3 * SEC, true);
        assert!(outcomes.many_failed(3 * SEC, 20));
        for party in 100..157 {
            outcomes.note(Id(party), 3 * SEC, false);
        }
        assert!(outcomes.many_failed(3 * SEC, 20) && !outcomes.all_failed(3 * SEC));
        outcomes.note(Id(200), 3 * SEC, false);
        assert!(!outcomes.many_failed(3 * SEC, 20), "3 of 61 are less than a twentieth");
        // An answer about a party undoes its failure.
        outcomes.note(Id(2), 4 * SEC, false);
        assert_eq!(outcomes.failed, 2);
        assert!(!outcomes.all_failed(13 * SEC));
        assert_eq!((outcomes.failed, outcomes.last.len()), (0, 1), "only the last is recent");
    }

    #[test]
    fn outcomes_are_bounded() {
        let mut outcomes = LastOutcomes::default();
        for party in 0..50_000 {
            outcomes.note(Id(party), SEC, party % 2 == 0);
        }
        assert!(outcomes.last.len() <= MAX_PARTIES && outcomes.order.len() <= MAX_PARTIES);
        outcomes.forget_failures();
        assert!(!outcomes.many_failed(SEC, 20));
    }
}
