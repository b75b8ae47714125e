//! A table of cutoffs by issuer, bounded in number.

use std::{
    collections::{HashMap, hash_map},
    num::NonZeroU64,
    time::Duration,
};

use super::{
    cutoff::ClaimKind,
    doubt::Doubt,
    times::{CutoffTimes, merge},
};
use crate::clock::Moment;

/// The most cutoffs for sessions and tokens that one subject may have. More of them become one for
/// the subject.
const MAX_OF_SUBJECT: u8 = 16;

/// The most bytes of a name that are kept. The hash is of all.
const MAX_NAME: usize = 256;

/// The time between two removals of ended cutoffs.
const REMOVAL_PAUSE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Cutoffs {
    /// The number of cutoffs in `by_claim`, plus one for each issuer.
    count: usize,
    /// The moment at which ended cutoffs were removed last.
    removed_at: Option<Moment>,
    /// The cutoff for the issuers that found no place in `issuers`.
    pub(super) other_issuers: Option<CutoffTimes>,
    /// The last doubt about all facts. It revokes no token, and does not count as a cutoff.
    pub(super) doubt: Option<Doubt>,
    pub(super) issuers: HashMap<u64, IssuerCutoffs>,
}

pub(super) struct IssuerCutoffs {
    pub(super) name: Box<str>,
    pub(super) whole_issuer: Option<CutoffTimes>,
    pub(super) by_claim: HashMap<u64, ClaimCutoff>,
    /// The number of cutoffs in `by_claim` that name each subject.
    of_subject: HashMap<NonZeroU64, u8>,
}

/// A name: its hash, which decides, and its text, of which the start is kept for lists.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) hash: u64,
    pub(super) text: &'a str,
}

/// The name of a cutoff for one claim, and the subject that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct ClaimName<'a> {
    pub(super) kind: ClaimKind,
    pub(super) value: Name<'a>,
    pub(super) subject: Option<Name<'a>>,
}

/// A cutoff for one claim.
pub(super) struct ClaimCutoff {
    pub(super) times: CutoffTimes,
    pub(super) kind: ClaimKind,
    pub(super) value: Box<str>,
    pub(super) subject: Option<NonZeroU64>,
}

/// A cutoff in the table, by the hashes of its names.
pub(super) struct Row<'a> {
    /// `None` for the issuers that found no place.
    pub(super) issuer: Option<(u64, &'a IssuerCutoffs)>,
    /// `None` for all tokens.
    pub(super) claim: Option<(u64, &'a ClaimCutoff)>,
    pub(super) times: &'a CutoffTimes,
}

impl Cutoffs {
    pub(super) fn add(
        &mut self,
        issuer: Name<'_>,
        name: ClaimName<'_>,
        times: CutoffTimes,
        capacity: usize,
    ) {
        let times = match name.kind {
            // It was issued before its revocation became known.
            ClaimKind::Token => times.until_learned(),
            _ => times,
        };
        if let Some(known) = self.issuers.get_mut(&issuer.hash) {
            if let Some(before) = known.by_claim.get_mut(&name.value.hash) {
                before.times.merge(times);
                let subject = name.subject.and_then(|subject| NonZeroU64::new(subject.hash));
                if before.subject != subject
                    && let Some(first) = before.subject.take()
                {
                    // A cutoff for the first subject would not cover the tokens of the other.
                    known.forget_one_of(first);
                }
                return;
            }
            if let Some(subject) = known.full_subject(name.subject) {
                let before = known.by_claim.len();
                known.fold_subject(subject, &ClaimCutoff::new(name, times));
                self.count -= before - known.by_claim.len();
                return;
            }
        }
        let new = ClaimCutoff::new(name, times);
        if !self.make_room(issuer.hash, 1, capacity) {
            return merge(&mut self.other_issuers, new.covering());
        }
        self.count += 1;
        self.issuer(issuer).insert(name.value.hash, new);
    }

    pub(super) fn add_issuer(&mut self, issuer: Name<'_>, times: CutoffTimes, capacity: usize) {
        if !self.make_room(issuer.hash, 0, capacity) {
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

    fn issuer(&mut self, issuer: Name<'_>) -> &mut IssuerCutoffs {
        match self.issuers.entry(issuer.hash) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(new) => {
                self.count += 1;
                // Its earlier cutoffs may be among those of the issuers without a place.
                new.insert(IssuerCutoffs {
                    name: issuer.start(),
                    whole_issuer: self.other_issuers,
                    by_claim: HashMap::new(),
                    of_subject: HashMap::new(),
                })
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

    /// Returns all cutoffs, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let others = self.other_issuers.iter();
        let others = others.map(|times| Row { issuer: None, claim: None, times });
        others.chain(self.issuers.iter().flat_map(|(hash, cutoffs)| {
            let issuer = Some((*hash, cutoffs));
            let whole = cutoffs.whole_issuer.iter();
            let whole = whole.map(move |times| Row { issuer, claim: None, times });
            whole.chain(cutoffs.by_claim.iter().map(move |(hash, cutoff)| {
                let claim = Some((*hash, cutoff));
                Row { issuer, claim, times: &cutoff.times }
            }))
        }))
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

    fn forget_one_of(&mut self, subject: NonZeroU64) {
        if let Some(count) = self.of_subject.get_mut(&subject) {
            *count -= 1;
            if *count == 0 {
                self.of_subject.remove(&subject);
            }
        }
    }

    /// Returns the subject if it has as many cutoffs as it may have.
    fn full_subject<'a>(&self, subject: Option<Name<'a>>) -> Option<Name<'a>> {
        subject.filter(|subject| {
            let count = NonZeroU64::new(subject.hash).and_then(|hash| self.of_subject.get(&hash));
            count.is_some_and(|count| *count >= MAX_OF_SUBJECT)
        })
    }

    /// Replaces all cutoffs that name a subject, and a new one, by one for the subject.
    fn fold_subject(&mut self, subject: Name<'_>, new: &ClaimCutoff) {
        let mut times = new.covering();
        self.retain(|cutoff| {
            let names_it = cutoff.subject == new.subject;
            if names_it {
                times.merge(cutoff.covering());
            }
            !names_it
        });
        match self.by_claim.get_mut(&subject.hash) {
            Some(before) => before.times.merge(times),
            None => {
                let name = ClaimName { kind: ClaimKind::Subject, value: subject, subject: None };
                self.by_claim.insert(subject.hash, ClaimCutoff::new(name, times));
            }
        }
    }

    /// Replaces the older half of the cutoffs by one for all tokens of the issuer, and returns their
    /// number. Most tokens that old have expired. Cutoffs that revoke no token go first.
    fn fold_older(&mut self) -> usize {
        let end = |times: CutoffTimes| (times.revoked_at, times.learned_at.monotonic());
        let mut ends: Vec<_> =
            self.by_claim.values().map(|cutoff| end(cutoff.covering())).collect();
        if ends.is_empty() {
            return 0;
        }
        let (before, middle) = (ends.len(), ends.len() / 2);
        let (_, &mut until, _) = ends.select_nth_unstable(middle);
        let mut whole_issuer = self.whole_issuer;
        self.retain(|cutoff| {
            let covering = cutoff.covering();
            let is_old = end(covering) <= until;
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
    fn new(name: ClaimName<'_>, times: CutoffTimes) -> Self {
        let subject = name.subject.and_then(|subject| NonZeroU64::new(subject.hash));
        Self { times, kind: name.kind, value: name.value.start(), subject }
    }

    /// Returns a cutoff by `iat` that covers the same tokens, and others.
    fn covering(&self) -> CutoffTimes {
        if self.kind == ClaimKind::Token { self.times.extended() } else { self.times }
    }
}

impl Name<'_> {
    /// Returns the start of the text, to keep it.
    fn start(self) -> Box<str> {
        let mut ends = (0..=self.text.len().min(MAX_NAME)).rev();
        let end = ends.find(|at| self.text.is_char_boundary(*at));
        self.text.get(..end.unwrap_or_default()).unwrap_or_default().into()
    }
}
