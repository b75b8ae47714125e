//! The changes of this instance that wait to be told.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
};

use tower_introspect::{clock::UnixTime, revocation::Cutoff};

use super::entry::Name;

/// The most changes that wait. Each has the length of its names, and 100 bytes.
const MAX_WAITING: usize = 10_000;

/// A change that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) name: Name,
    pub(crate) subject: Option<Arc<str>>,
    pub(crate) effect: Effect,
}

/// The effect of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Tokens issued until this time are revoked. `None` stands for the time at which it is told, because
    /// the clock of this instance could not be right before.
    Revoke(Option<UnixTime>),
    Outdate,
}

/// A bounded queue of changes.
///
/// If there are too many, sessions and tokens become cutoffs of their subjects, and if that is not
/// enough, those of the issuer with the most become one of the issuer, and so on. That may revoke more than
/// was asked for, never less, and leaves issuers with few changes alone.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Each with the number of the earliest change in it, in ascending order.
    waiting: VecDeque<(u64, Waiting)>,
    /// The number of changes that were put in.
    put: u64,
}

impl Waiting {
    pub(crate) fn new(cutoff: &Cutoff, effect: Effect) -> Self {
        let subject = cutoff.subject_name().map(Into::into);
        Self { name: Name::of(cutoff), subject, effect }
    }

    /// Returns a change for more tokens, which has the effect of this one for its own.
    fn widened(self, name: Name) -> Self {
        let effect = match self.effect {
            Effect::Revoke(at) if name != self.name => {
                Effect::Revoke(at.map(|at| self.name.until(at)))
            }
            effect => effect,
        };
        let subject = self.subject.filter(|_| name == self.name);
        Self { name, subject, effect }
    }
}

impl Effect {
    /// Returns the effect that has both. A revocation without a time is the latest.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Outdate, effect) | (effect, Self::Outdate) => effect,
            (Self::Revoke(one), Self::Revoke(other)) => {
                Self::Revoke(one.zip(other).map(|(one, other)| one.max(other)))
            }
        }
    }
}

impl Outbox {
    pub(crate) fn put(&mut self, change: Waiting) {
        self.put += 1;
        self.waiting.push_back((self.put, change));
        if self.waiting.len() > MAX_WAITING {
            self.fold(|change| match (&change.subject, &*change.name.kind) {
                (Some(subject), "session" | "token") => Name::subject(&change.name.issuer, subject),
                _ => change.name.clone(),
            });
            // To fold is a walk over all, and must not come with each change. Only the issuers with the
            // most changes are widened.
            while self.waiting.len() > MAX_WAITING / 2 {
                let Some(largest) = self.largest_issuer() else { break };
                self.fold(|change| {
                    let is_of_it = change.name.issuer == largest;
                    if is_of_it { Name::issuer(&largest) } else { change.name.clone() }
                });
            }
        }
    }

    /// Returns the issuer with the most changes, unless none has more than one.
    fn largest_issuer(&self) -> Option<Arc<str>> {
        let mut counts: HashMap<&Arc<str>, usize> = HashMap::new();
        for (_, change) in &self.waiting {
            *counts.entry(&change.name.issuer).or_default() += 1;
        }
        let (issuer, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        (count > 1).then(|| Arc::clone(issuer))
    }

    /// Returns the number of changes that were put in so far.
    pub(crate) const fn count(&self) -> u64 {
        self.put
    }

    /// Returns the number of changes of which none waits, nor of those before it.
    pub(crate) fn taken(&self) -> u64 {
        self.waiting.front().map_or(self.put, |(earliest, _)| earliest - 1)
    }

    /// Takes up to `most` changes.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Waiting> {
        let taken = self.waiting.drain(..most.min(self.waiting.len()));
        taken.map(|(_, change)| change).collect()
    }

    /// Replaces each change by one with another name, and changes of one name by one of them.
    fn fold(&mut self, name: impl Fn(&Waiting) -> Name) {
        let mut known: HashMap<Name, usize> = HashMap::new();
        for (earliest, change) in mem::take(&mut self.waiting) {
            let folded = name(&change);
            let change = change.widened(folded);
            if let Some(at) = known.get(&change.name) {
                let before = &mut self.waiting[*at].1;
                before.effect = before.effect.and(change.effect);
                // A cutoff that several subjects have belongs to none.
                before.subject =
                    before.subject.take().filter(|s| change.subject.as_ref() == Some(s));
            } else {
                known.insert(change.name.clone(), self.waiting.len());
                self.waiting.push_back((earliest, change));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS: &str = "https://as.example.com";

    fn at(secs: i64) -> Effect {
        Effect::Revoke(Some(UnixTime::from_secs(secs)))
    }

    fn put(outbox: &mut Outbox, cutoff: &Cutoff, effect: Effect) {
        outbox.put(Waiting::new(cutoff, effect));
    }

    #[test]
    fn changes_leave_in_the_order_in_which_they_came() {
        let mut outbox = Outbox::default();
        for n in 0..5 {
            put(&mut outbox, &Cutoff::subject(AS, n.to_string()), Effect::Outdate);
        }
        let taken = outbox.take(3);
        let values: Vec<_> = taken.iter().map(|change| change.name.value.as_deref()).collect();
        assert_eq!(values, [Some("0"), Some("1"), Some("2")]);
        assert_eq!((outbox.count(), outbox.taken()), (5, 3));
        assert_eq!(outbox.take(9).len(), 2);
        assert_eq!((outbox.taken(), outbox.waiting.is_empty()), (5, true));
    }

    #[test]
    fn many_sessions_of_few_subjects_become_cutoffs_of_the_subjects() {
        let mut outbox = Outbox::default();
        put(&mut outbox, &Cutoff::client(AS, "web"), Effect::Outdate);
        for n in 0..i64::try_from(MAX_WAITING).unwrap() {
            let subject = if n % 2 == 0 { "alice" } else { "bob" };
            put(&mut outbox, &Cutoff::session(AS, n.to_string()).of_subject(subject), at(n));
        }
        assert_eq!(outbox.taken(), 0);
        let all = outbox.take(usize::MAX);
        let names: Vec<_> = all
            .iter()
            .map(|change| (&*change.name.kind, change.name.value.as_deref(), change.effect))
            .collect();
        assert_eq!(
            names,
            [
                ("client", Some("web"), Effect::Outdate),
                ("subject", Some("alice"), at(9998)),
                ("subject", Some("bob"), at(9999)),
            ]
        );
    }

    #[test]
    fn many_subjects_become_a_cutoff_of_the_issuer_and_none_is_lost() {
        let mut outbox = Outbox::default();
        for n in 0..3 * MAX_WAITING {
            put(&mut outbox, &Cutoff::token(AS, n.to_string()), at(7));
            assert!(outbox.waiting.len() <= MAX_WAITING);
        }
        put(&mut outbox, &Cutoff::subject("other", "alice"), Effect::Revoke(None));
        let kinds = |outbox: &Outbox| {
            let of_other =
                outbox.waiting.iter().find(|(_, change)| &*change.name.issuer == "other");
            of_other.map(|(_, change)| change.name.kind.to_string())
        };
        assert_eq!(kinds(&outbox).as_deref(), Some("subject"), "others are left alone");
        let first = &outbox.take(1)[0];
        assert_eq!((&*first.name.kind, first.effect), ("issuer", at(307)));
        assert_eq!(
            outbox.taken(),
            3 * u64::try_from(MAX_WAITING).unwrap(),
            "the other still waits"
        );
    }

    #[test]
    fn waiting_is_only_over_when_the_change_itself_was_taken() {
        let mut outbox = Outbox::default();
        for n in 0..=MAX_WAITING {
            let issuer = if n < 10 { "first" } else { AS };
            put(&mut outbox, &Cutoff::token(issuer, n.to_string()), at(7));
        }
        assert_eq!(outbox.waiting.len(), 11, "those of the other issuer are one");
        outbox.take(10);
        assert_eq!(outbox.taken(), 10, "the eleventh still waits");
    }

    #[test]
    fn folded_effects_have_both() {
        let none = Effect::Revoke(None);
        for (one, other, both) in [
            (Effect::Outdate, at(1), at(1)),
            (at(1), Effect::Outdate, at(1)),
            (at(1), at(2), at(2)),
            (at(1), none, none),
            (none, Effect::Outdate, none),
            (Effect::Outdate, Effect::Outdate, Effect::Outdate),
        ] {
            assert_eq!(one.and(other), both);
        }
    }
}
