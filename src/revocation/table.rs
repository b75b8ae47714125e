//! A table of cutoffs by issuer, bounded in number.

use std::{
    collections::{HashMap, hash_map},
    num::NonZeroU64,
    time::Duration,
};

use super::cutoff::Standing;
use crate::{
    clock::{Moment, UnixTime},
    verify::active::{ActiveToken, Method},
};

/// The most that the clock of an issuer is assumed to be ahead: the largest leeway of a policy
/// (`Policy::leeway`).
pub(super) const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(300);

/// The most cutoffs for sessions and tokens that one subject may have. More of them become one for
/// the subject.
const MAX_OF_SUBJECT: u8 = 16;

/// The time between two removals of ended cutoffs.
const REMOVAL_PAUSE: Duration = Duration::from_secs(60);

/// The time of a revocation that came while the clock could not be right. It covers every token
/// until the clock can be right again.
pub(super) const UNDATED: UnixTime = UnixTime::from_millis(i64::MAX);

#[derive(Default)]
pub(super) struct Cutoffs {
    /// The number of cutoffs in `by_claim`, plus one for each issuer.
    count: usize,
    /// The moment at which ended cutoffs were removed last.
    removed_at: Option<Moment>,
    /// The cutoff for the issuers that found no place in `issuers`.
    pub(super) other_issuers: Option<CutoffTimes>,
    pub(super) issuers: HashMap<u64, IssuerCutoffs>,
}

#[derive(Default)]
pub(super) struct IssuerCutoffs {
    pub(super) whole_issuer: Option<CutoffTimes>,
    pub(super) by_claim: HashMap<u64, ClaimCutoff>,
    /// How many cutoffs in `by_claim` name each subject.
    of_subject: HashMap<NonZeroU64, u8>,
}

/// The name of a cutoff for one claim, as a hash, and the subject that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct ClaimName {
    pub(super) name: u64,
    pub(super) is_token: bool,
    pub(super) subject: Option<NonZeroU64>,
}

/// A cutoff for one claim.
pub(super) struct ClaimCutoff {
    pub(super) times: CutoffTimes,
    is_token: bool,
    subject: Option<NonZeroU64>,
}

/// One cutoff.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutoffTimes {
    /// The time of the revocation, by the clock of the issuer. Tokens issued later are not
    /// affected.
    pub(super) revoked_at: UnixTime,
    /// The moment at which this process learned of it. Verifications that started later are not
    /// affected.
    pub(super) learned_at: Moment,
}

impl CutoffTimes {
    pub(super) fn check(self, active: &ActiveToken) -> Standing {
        // `iat` and the time of the revocation are often cut to the second. If they are equal, it
        // is unknown which came first.
        let issued_later = active.claims().issued_at().map(|issued| issued > self.revoked_at);
        match active.method() {
            // Checking the signature again can't detect a revocation.
            Method::Jwt if issued_later != Some(true) => Standing::Revoked,
            Method::Jwt => Standing::Stands,
            // A custom verifier may or may not call the server, but the `iat` of its claims counts.
            Method::Custom if issued_later == Some(false) => Standing::Revoked,
            _ => self.check_start(active),
        }
    }

    /// Checks a token revoked by its `jti`. Its `iat` does not matter: it can't have been issued
    /// after its revocation.
    pub(super) fn check_token(self, active: &ActiveToken) -> Standing {
        match active.method() {
            Method::Jwt | Method::Custom => Standing::Revoked,
            _ => self.check_start(active),
        }
    }

    /// Checks the start of a verification at the server. The request to the server leaves after the
    /// start is read. So a verification that started at the very instant at which the cutoff became
    /// known reaches a server that knows the revocation.
    fn check_start(self, active: &ActiveToken) -> Standing {
        if active.verified_at().is_before(self.learned_at) {
            Standing::Outdated(self.learned_at)
        } else {
            Standing::Stands
        }
    }

    fn merge(&mut self, other: Self) {
        self.revoked_at = self.revoked_at.max(other.revoked_at);
        self.learned_at = self.learned_at.latest(other.learned_at);
    }

    /// Returns this cutoff, moved forward to cover every token issued before it became known, even
    /// by an issuer whose clock is ahead.
    fn extended(self) -> Self {
        let now = self.learned_at.wall().max(self.revoked_at);
        Self { revoked_at: now.saturating_add(MAX_CLOCK_AHEAD), ..self }
    }

    /// Returns true if every token that the cutoff covers has expired, where none lives longer than
    /// `lifetime`.
    ///
    /// The clock of the issuer may be ahead, and an expired token may be tolerated, by
    /// `MAX_CLOCK_AHEAD` each. Both clocks must have passed the end: after a step of the wall clock
    /// forward and back, the tokens are valid again.
    fn has_ended(self, lifetime: Duration, now: Moment) -> bool {
        let learned = self.learned_at.wall();
        let keep = self
            .revoked_at
            .saturating_duration_since(learned)
            .saturating_add(lifetime)
            .saturating_add(2 * MAX_CLOCK_AHEAD);
        self.revoked_at != UNDATED
            && now.wall() >= learned.saturating_add(keep)
            && now.monotonic_since(self.learned_at) >= keep
    }

    /// Sets the time of a revocation that has none, at a moment at which the clock can be right.
    fn date(&mut self, now: Moment) {
        if self.revoked_at == UNDATED {
            let learned = now.wall().saturating_sub(now.monotonic_since(self.learned_at));
            self.revoked_at = learned.saturating_add(MAX_CLOCK_AHEAD);
        }
    }
}

pub(super) fn worse(one: Standing, other: Standing) -> Standing {
    use Standing::{Outdated, Revoked, Stands};
    match (one, other) {
        (Revoked, _) | (_, Revoked) => Revoked,
        (Outdated(one), Outdated(other)) => Outdated(one.latest(other)),
        (Outdated(since), Stands) | (Stands, Outdated(since)) => Outdated(since),
        (Stands, Stands) => Stands,
    }
}

impl Cutoffs {
    pub(super) fn add(
        &mut self,
        issuer: u64,
        name: ClaimName,
        times: CutoffTimes,
        capacity: usize,
    ) {
        let new = ClaimCutoff { times, is_token: name.is_token, subject: name.subject };
        if let Some(known) = self.issuers.get_mut(&issuer) {
            if let Some(before) = known.by_claim.get_mut(&name.name) {
                return before.times.merge(times);
            }
            if let Some(subject) = known.full_subject(name.subject) {
                let before = known.by_claim.len();
                known.fold_subject(subject, &new);
                self.count -= before - known.by_claim.len();
                return;
            }
        }
        if !self.make_room(issuer, 1, capacity) {
            return merge(&mut self.other_issuers, new.covering());
        }
        self.count += 1;
        self.issuer(issuer).insert(name.name, new);
    }

    pub(super) fn add_issuer(&mut self, issuer: u64, times: CutoffTimes, capacity: usize) {
        if !self.make_room(issuer, 0, capacity) {
            return merge(&mut self.other_issuers, times);
        }
        merge(&mut self.issuer(issuer).whole_issuer, times);
    }

    /// Makes room for an issuer and `more` cutoffs of it. Returns false if there are too many
    /// issuers.
    ///
    /// The issuer with the most cutoffs gives up the older half of its own, so each may have an
    /// equal share of the capacity whatever the others do.
    fn make_room(&mut self, issuer: u64, more: usize, capacity: usize) -> bool {
        let is_new = !self.issuers.contains_key(&issuer);
        let new = more + usize::from(is_new);
        while self.count + new > capacity {
            let largest = self.issuers.values_mut().max_by_key(|issuer| issuer.by_claim.len());
            let freed = largest.map_or(0, IssuerCutoffs::fold_older);
            self.count -= freed;
            if freed == 0 {
                // Nothing but the cutoffs for whole issuers is left. One that has a place may have
                // one cutoff more.
                return !is_new;
            }
        }
        true
    }

    fn issuer(&mut self, issuer: u64) -> &mut IssuerCutoffs {
        match self.issuers.entry(issuer) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(new) => {
                self.count += 1;
                // Its earlier cutoffs may be among those of the issuers without a place.
                let whole_issuer = self.other_issuers;
                new.insert(IssuerCutoffs { whole_issuer, ..IssuerCutoffs::default() })
            }
        }
    }

    /// Returns true if ended cutoffs have not been removed for a while. That takes a walk over all
    /// of them.
    pub(super) fn may_have_ended(&self, now: Moment) -> bool {
        self.removed_at.is_none_or(|before| now.monotonic_since(before) >= REMOVAL_PAUSE)
    }

    /// Removes the cutoffs that have ended, where no token lives longer than `lifetime`.
    pub(super) fn remove_ended(&mut self, lifetime: Duration, now: Moment) {
        self.removed_at = Some(now);
        let has_ended = |times: &mut CutoffTimes| times.has_ended(lifetime, now);
        self.other_issuers.take_if(has_ended);
        self.issuers.retain(|_, issuer| {
            issuer.whole_issuer.take_if(has_ended);
            issuer.retain(|cutoff| !cutoff.times.has_ended(lifetime, now));
            issuer.whole_issuer.is_some() || !issuer.by_claim.is_empty()
        });
        self.count = self.issuers.values().map(|issuer| 1 + issuer.by_claim.len()).sum();
    }

    /// Sets the time of all revocations that have none, at a moment at which the clock can be right.
    pub(super) fn date(&mut self, now: Moment) {
        self.other_issuers.iter_mut().for_each(|times| times.date(now));
        for issuer in self.issuers.values_mut() {
            issuer.whole_issuer.iter_mut().for_each(|times| times.date(now));
            issuer.by_claim.values_mut().for_each(|cutoff| cutoff.times.date(now));
        }
    }

    /// Returns the number of cutoffs.
    pub(super) fn len(&self) -> usize {
        let of = |issuer: &IssuerCutoffs| {
            issuer.by_claim.len() + usize::from(issuer.whole_issuer.is_some())
        };
        usize::from(self.other_issuers.is_some()) + self.issuers.values().map(of).sum::<usize>()
    }
}

impl IssuerCutoffs {
    fn insert(&mut self, name: u64, cutoff: ClaimCutoff) {
        if let Some(subject) = cutoff.subject {
            *self.of_subject.entry(subject).or_default() += 1;
        }
        self.by_claim.insert(name, cutoff);
    }

    /// Returns the subject if it has as many cutoffs as it may have.
    fn full_subject(&self, subject: Option<NonZeroU64>) -> Option<NonZeroU64> {
        subject.filter(|subject| {
            self.of_subject.get(subject).is_some_and(|count| *count >= MAX_OF_SUBJECT)
        })
    }

    /// Replaces all cutoffs that name a subject, and a new one, by one for the subject.
    fn fold_subject(&mut self, subject: NonZeroU64, new: &ClaimCutoff) {
        let mut times = new.covering();
        self.by_claim.retain(|_, cutoff| {
            let names_it = cutoff.subject == Some(subject);
            if names_it {
                times.merge(cutoff.covering());
            }
            !names_it
        });
        self.of_subject.remove(&subject);
        match self.by_claim.get_mut(&subject.get()) {
            Some(before) => before.times.merge(times),
            None => {
                let cutoff = ClaimCutoff { times, is_token: false, subject: None };
                self.by_claim.insert(subject.get(), cutoff);
            }
        }
    }

    /// Replaces the older half of the cutoffs by one for all tokens of the issuer, and returns their
    /// number. Most tokens that old have expired.
    fn fold_older(&mut self) -> usize {
        let mut ends: Vec<_> =
            self.by_claim.values().map(|cutoff| cutoff.covering().revoked_at).collect();
        if ends.is_empty() {
            return 0;
        }
        let (before, middle) = (ends.len(), ends.len() / 2);
        let (_, &mut until, _) = ends.select_nth_unstable(middle);
        let mut whole_issuer = self.whole_issuer;
        self.retain(|cutoff| {
            let covering = cutoff.covering();
            let is_old = covering.revoked_at <= until;
            if is_old {
                merge(&mut whole_issuer, covering);
            }
            !is_old
        });
        self.whole_issuer = whole_issuer;
        before - self.by_claim.len()
    }

    fn retain(&mut self, mut keeps: impl FnMut(&ClaimCutoff) -> bool) {
        let of_subject = &mut self.of_subject;
        self.by_claim.retain(|_, cutoff| {
            let kept = keeps(cutoff);
            if !kept
                && let Some(subject) = cutoff.subject
                && let Some(count) = of_subject.get_mut(&subject)
            {
                *count -= 1;
                if *count == 0 {
                    of_subject.remove(&subject);
                }
            }
            kept
        });
    }
}

impl ClaimCutoff {
    /// Returns a cutoff by `iat` that covers the same tokens, and others.
    fn covering(&self) -> CutoffTimes {
        if self.is_token { self.times.extended() } else { self.times }
    }
}

fn merge(slot: &mut Option<CutoffTimes>, times: CutoffTimes) {
    match slot {
        Some(before) => before.merge(times),
        None => *slot = Some(times),
    }
}
