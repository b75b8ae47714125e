//! The tokens that were active lately, and the last outcome of each subject or registration.

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

/// A point in time: the time since the origin was created, by the monotonic clock.
pub(super) type Time = Duration;

/// The time for which a token stays known after the server called it active. It is longer than a
/// cache keeps facts, stale ones included, so a token in use is known when it must be verified
/// again.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(10 * 60);

/// The time within which failures count together.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// The fewest parties that must fail to count as many. One client may have two accounts.
pub(super) const FEWEST_FAILED: usize = 3;

/// The maximum number of parties whose last outcomes are kept.
const MAX_PARTIES: usize = 10_000;

/// A keyed hash of a token, a subject or a registration. No decision to admit depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u64);

impl Id {
    pub(super) fn of(value: impl Hash) -> Self {
        // Randomly keyed, so that a client can't choose values with the same hash.
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(KEY.hash_one(value))
    }
}

/// The fewest tokens that each registration keeps as known, even if all of them together then exceed
/// the total.
const MIN_KNOWN: usize = 256;

/// The number of tokens that all registrations of a resource server may keep as known.
#[derive(Debug)]
pub(super) struct KnownTokensLimit {
    total: usize,
    registrations: AtomicUsize,
}

impl KnownTokensLimit {
    pub(super) const fn new(total: usize) -> Self {
        Self { total, registrations: AtomicUsize::new(0) }
    }

    pub(super) fn add_registration(&self) {
        self.registrations.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_registration(&self) {
        self.registrations.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the number for each registration.
    pub(super) fn per_registration(&self) -> usize {
        let registrations = self.registrations.load(Ordering::Relaxed).max(1);
        (self.total / registrations).max(MIN_KNOWN)
    }
}

/// The known tokens of one registration, with their subjects.
///
/// Holds two generations of up to `capacity` tokens each. A full newer generation becomes the older
/// one, whose tokens are forgotten.
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

    /// Returns the subject of a token that is known at `now`.
    pub(super) fn subject(&self, token: Id, now: Time) -> Option<Id> {
        let known = self.newer.get(&token).or_else(|| self.older.get(&token))?;
        (now.saturating_sub(known.at) < KNOWN_FOR).then_some(known.subject)
    }

    /// Returns true if no token is known at `now`.
    pub(super) fn is_empty(&self, now: Time) -> bool {
        self.last.is_none_or(|last| now.saturating_sub(last) >= KNOWN_FOR)
    }
}

/// The last outcome of each party within the last ten seconds. The parties are subjects, or
/// registrations.
#[derive(Debug, Default)]
pub(super) struct LastOutcomes {
    /// The time of each party's last outcome, and true if it failed.
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

    /// Returns true if at least three parties failed, and at least one of `share`.
    pub(super) fn many_failed(&mut self, now: Time, share: usize) -> bool {
        self.forget_old(now);
        self.failed >= FEWEST_FAILED && self.failed * share >= self.last.len()
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
    fn known_tokens_are_divided_among_registrations() {
        let share = KnownTokensLimit::new(10_000);
        assert_eq!(share.per_registration(), 10_000);
        (0..10).for_each(|_| share.add_registration());
        assert_eq!(share.per_registration(), 1_000);
        (0..1_000).for_each(|_| share.add_registration());
        assert_eq!(share.per_registration(), MIN_KNOWN);
        (0..1_005).for_each(|_| share.remove_registration());
        assert_eq!(share.per_registration(), 2_000);
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
        // A later success of a party undoes its failure.
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
