//! The map of cutoffs, as one instance knows it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tower_introspect::clock::UnixTime;

use super::{
    entry::{Entry, Name},
    id::Id,
};

/// The most entries for sessions and tokens of one subject. More of them become one for the subject.
const MAX_OF_SUBJECT: usize = 16;

/// The number of entries of a map, and the sum of their salts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    pub(crate) count: u64,
    pub(crate) sum: Id,
}

/// The map: a function of the position in the log.
#[derive(Debug, Default)]
pub(crate) struct CutoffMap {
    entries: HashMap<Id, Entry>,
    by_name: HashMap<Name, Vec<Id>>,
    of_subject: HashMap<Name, HashSet<Id>>,
    of_issuer: HashMap<Arc<str>, usize>,
    digest: Digest,
}

impl CutoffMap {
    /// Adds an entry. Returns false if it was there.
    pub(crate) fn add(&mut self, id: Id, entry: Entry) -> bool {
        if self.entries.contains_key(&id) {
            return false;
        }
        self.digest.count += 1;
        self.digest.sum.0 ^= entry.salt.0;
        *self.of_issuer.entry(Arc::clone(&entry.name.issuer)).or_default() += 1;
        if let Some(subject) = subject_of(&entry) {
            self.of_subject.entry(subject).or_default().insert(id);
        }
        self.by_name.entry(entry.name.clone()).or_default().push(id);
        self.entries.insert(id, entry);
        true
    }

    /// Removes an entry, if it is there.
    pub(crate) fn remove(&mut self, id: Id) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.digest.count -= 1;
        self.digest.sum.0 ^= entry.salt.0;
        if let Some(count) = self.of_issuer.get_mut(&entry.name.issuer) {
            *count -= 1;
            if *count == 0 {
                self.of_issuer.remove(&entry.name.issuer);
            }
        }
        if let Some(subject) = subject_of(&entry)
            && let Some(ids) = self.of_subject.get_mut(&subject)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.of_subject.remove(&subject);
            }
        }
        if let Some(ids) = self.by_name.get_mut(&entry.name) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                self.by_name.remove(&entry.name);
            }
        }
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        self.entries.keys().copied()
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = (Id, Entry)> {
        self.entries.into_iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns true if an entry of this name reaches at least as far.
    pub(crate) fn covers(&self, name: &Name, at: UnixTime) -> bool {
        self.of_name(name).any(|(_, entry)| entry.at >= at)
    }

    /// Returns the entries that a new one with this name and time makes superfluous.
    pub(crate) fn covered_by(&self, name: &Name, at: UnixTime) -> Vec<Id> {
        let mut covered: Vec<_> =
            self.of_name(name).filter(|(_, entry)| entry.at <= at).map(|(id, _)| id).collect();
        if &*name.kind == "subject"
            && let Some(ids) = self.of_subject.get(name)
        {
            covered.extend(ids.iter().filter(|id| self.ends_by(**id, at)));
        }
        covered
    }

    /// Returns the name and the time of a cutoff for the subject, if it has as many entries for its
    /// sessions and tokens as it may.
    pub(crate) fn fold_subject(&self, name: &Name, subject: &Arc<str>) -> Option<(Name, UnixTime)> {
        let of_subject = Name::subject(&name.issuer, subject);
        let ids = self.of_subject.get(&of_subject)?;
        let until = ids.iter().filter_map(|id| Some(self.get(*id)?.until())).max()?;
        (ids.len() >= MAX_OF_SUBJECT).then_some((of_subject, until))
    }

    /// Returns the name and the time of a cutoff for the issuer with the most entries, which covers the
    /// older half of them.
    pub(crate) fn fold_issuer(&self) -> Option<(Name, UnixTime)> {
        let (issuer, count) = self.of_issuer.iter().max_by_key(|(_, count)| **count)?;
        if *count < 2 {
            // One entry for another is no less.
            return None;
        }
        let mut ends: Vec<_> = self
            .entries
            .values()
            .filter(|entry| entry.name.issuer == *issuer)
            .map(Entry::until)
            .collect();
        let middle = ends.len() / 2;
        let (_, until, _) = ends.select_nth_unstable(middle);
        Some((Name::issuer(issuer), *until))
    }

    /// Returns up to `most` entries that are not needed: others cover them, or they have ended.
    pub(crate) fn superfluous(
        &self,
        lifetime: Option<Duration>,
        now: UnixTime,
        most: usize,
    ) -> Vec<Id> {
        let is_superfluous = |(id, entry): &(&Id, &Entry)| {
            entry.has_ended(lifetime, now) || self.is_covered(**id, entry)
        };
        self.entries.iter().filter(is_superfluous).map(|(id, _)| *id).take(most).collect()
    }

    /// Returns true if another entry covers this one, which need not be in the map. Of two that cover
    /// each other one stays.
    pub(crate) fn is_covered(&self, id: Id, entry: &Entry) -> bool {
        let is_later = |(other, known): (Id, &Entry)| (known.at, other) > (entry.at, id);
        if self.of_name(&entry.name).any(is_later) {
            return true;
        }
        let reaches = |(_, known): (Id, &Entry)| known.at >= entry.until();
        let is_whole = entry.name.value.is_none();
        let by_issuer = !is_whole && self.of_name(&Name::issuer(&entry.name.issuer)).any(reaches);
        by_issuer || subject_of(entry).is_some_and(|subject| self.of_name(&subject).any(reaches))
    }

    fn of_name(&self, name: &Name) -> impl Iterator<Item = (Id, &Entry)> {
        let ids = self.by_name.get(name).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.entries.get(id)?)))
    }

    fn ends_by(&self, id: Id, at: UnixTime) -> bool {
        self.get(id).is_some_and(|entry| entry.until() <= at)
    }
}

/// Returns the name of a cutoff for the subject that a session or a token belongs to.
fn subject_of(entry: &Entry) -> Option<Name> {
    let subject = entry.subject.as_ref()?;
    matches!(&*entry.name.kind, "session" | "token")
        .then(|| Name::subject(&entry.name.issuer, subject))
}

#[cfg(test)]
mod tests {
    use tower_introspect::revocation::Cutoff;

    use super::{super::id::IdSource, *};

    const AS: &str = "https://as.example.com";

    const MINUTE: Duration = Duration::from_secs(60);

    const fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn entry(cutoff: &Cutoff, secs: i64) -> Entry {
        let subject = cutoff.subject_name().map(Into::into);
        let salt = IdSource::new().unwrap().next();
        Entry::new(Name::of(cutoff), subject, at(secs), at(secs), Some(MINUTE), salt)
    }

    fn session(n: u128) -> Cutoff {
        Cutoff::session(AS, n.to_string()).of_subject("alice")
    }

    #[test]
    fn digest_depends_on_the_entries_alone() {
        let entries: Vec<_> = (0..10).map(|n| (Id(n), entry(&session(n), 1))).collect();
        let (mut one, mut other) = (CutoffMap::default(), CutoffMap::default());
        for (id, entry) in &entries {
            assert!(one.add(*id, entry.clone()));
            assert!(!one.add(*id, entry.clone()), "it is there");
        }
        for (id, entry) in entries.iter().rev() {
            other.add(*id, entry.clone());
            other.add(Id(id.0 + 100), entry.clone());
        }
        for n in 100..110 {
            other.remove(Id(n));
            other.remove(Id(n));
        }
        assert_eq!(one.digest(), other.digest());
        other.remove(Id(3));
        assert_ne!(one.digest(), other.digest());
        for n in 0..10 {
            other.remove(Id(n));
        }
        assert_eq!(other.digest(), Digest::default());
        assert!(
            other.by_name.is_empty() && other.of_subject.is_empty() && other.of_issuer.is_empty()
        );
    }

    #[test]
    fn later_entry_of_a_name_makes_the_earlier_ones_superfluous() {
        let mut map = CutoffMap::default();
        let alice = Cutoff::subject(AS, "alice");
        map.add(Id(1), entry(&alice, 10));
        map.add(Id(2), entry(&alice, 20));
        map.add(Id(3), entry(&Cutoff::client(AS, "alice"), 5));
        let name = Name::of(&alice);
        assert_eq!(map.covered_by(&name, at(15)), [Id(1)]);
        assert!(map.covers(&name, at(20)) && !map.covers(&name, at(21)));
        assert_eq!(map.superfluous(None, at(0), 9), [Id(1)]);
        map.add(Id(0), entry(&alice, 20));
        let mut superfluous = map.superfluous(None, at(0), 9);
        superfluous.sort_unstable();
        assert_eq!(superfluous, [Id(0), Id(1)], "one of two equal ones stays");
    }

    #[test]
    fn seventeenth_session_of_a_subject_becomes_a_cutoff_of_the_subject() {
        let mut map = CutoffMap::default();
        let name = Name::of(&session(99));
        for n in 0..16 {
            assert_eq!(map.fold_subject(&name, &"alice".into()), None);
            map.add(Id(n), entry(&session(n), 10 + i64::try_from(n).unwrap()));
        }
        let (folded, until) = map.fold_subject(&name, &"alice".into()).unwrap();
        assert_eq!(
            (&*folded.kind, folded.value.as_deref(), until),
            ("subject", Some("alice"), at(25))
        );
        assert_eq!(map.covered_by(&folded, until).len(), 16);
        map.add(Id(50), entry(&Cutoff::subject(AS, "alice"), 25));
        assert_eq!(map.superfluous(None, at(0), 99).len(), 16);
        assert_eq!(map.fold_subject(&name, &"bob".into()), None);
    }

    #[test]
    fn cutoff_of_a_token_is_covered_by_one_that_reaches_past_its_issue_by_any_clock() {
        let mut map = CutoffMap::default();
        map.add(Id(1), entry(&Cutoff::token(AS, "t").of_subject("alice"), 100));
        map.add(Id(2), entry(&Cutoff::subject(AS, "alice"), 399));
        assert!(map.superfluous(None, at(0), 9).is_empty());
        map.add(Id(3), entry(&Cutoff::issuer(AS), 400));
        let mut superfluous = map.superfluous(None, at(0), 9);
        superfluous.sort_unstable();
        assert_eq!(superfluous, [Id(1), Id(2)]);
    }

    #[test]
    fn largest_issuer_gives_up_the_older_half() {
        let mut map = CutoffMap::default();
        map.add(Id(1000), entry(&Cutoff::subject("other", "x"), 1));
        for n in 0..10 {
            map.add(Id(n), entry(&Cutoff::subject(AS, n.to_string()), i64::try_from(n).unwrap()));
        }
        let (name, until) = map.fold_issuer().unwrap();
        assert_eq!((&*name.issuer, &*name.kind, until), (AS, "issuer", at(5)));
        map.add(Id(1001), entry(&Cutoff::issuer(AS), 5));
        assert_eq!(map.superfluous(None, at(0), 99).len(), 6);
        assert_eq!(map.superfluous(None, at(0), 2).len(), 2);
    }

    #[test]
    fn ended_entries_are_superfluous_only_if_lifetimes_are_limited() {
        let mut map = CutoffMap::default();
        map.add(Id(1), entry(&Cutoff::subject(AS, "alice"), 0));
        let late = at(1_000_000);
        assert!(map.superfluous(None, late, 9).is_empty());
        assert_eq!(map.superfluous(Some(MINUTE), late, 9), [Id(1)]);
    }
}
