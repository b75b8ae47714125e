//! Merges with the map in Redis.

use std::{collections::HashSet, mem};

use tower_introspect::{clock::Moment, revocation::CutoffChange};

use super::{
    entry::Entry,
    id::{Id, Position},
    map::CutoffMap,
    message::Place,
    replica::{Doubt, Merge, Replica},
};
use crate::secret::SharedSecret;

/// The most entries of a map that is read at once, if it may not have more of them.
const MOST_ENTRIES: u64 = 250_000;

/// The least time between two merges, in heartbeats.
const MERGE_PAUSE: u32 = 5;

/// The most entries that a merge finds superfluous.
const MAX_SUPERFLUOUS: usize = 5_000;

impl Replica {
    /// Returns the merge that is due.
    pub(crate) fn due_merge(&self, now: Moment) -> Option<Merge> {
        // Instances that start together must not merge together for ever.
        let share = u32::try_from(self.own.0 % 256).unwrap_or_default();
        let pause = MERGE_PAUSE * self.settings.heartbeat;
        let retry = self.settings.heartbeat + pause / 256 * share;
        if self.merge_failed_at.is_some_and(|failed| now.monotonic_since(failed) < retry) {
            return None;
        }
        let Some(merged_at) = self.merged_at else { return Some(Merge::Whole) };
        let passed = now.monotonic_since(merged_at);
        let interval = self.settings.merge - self.settings.merge / 1024 * share;
        match self.wants_merge {
            Some(merge) if passed >= pause => Some(merge),
            // After a rotation the entries are sealed again.
            None if passed >= interval && self.sealed_with != self.secret.generation() => {
                Some(Merge::Whole)
            }
            None if passed >= interval => Some(Merge::Names),
            _ => None,
        }
    }

    /// Notes that a merge failed, so that the next one comes after a pause.
    pub(crate) fn merge_failed(&mut self, now: Moment) {
        self.merge_failed_at = Some(now);
    }

    /// Returns the most entries of a map that is read at once. It may have more than this instance would
    /// let it have.
    pub(crate) fn most_entries(&self) -> u64 {
        let capacity = u64::try_from(self.settings.capacity).unwrap_or(u64::MAX);
        capacity.saturating_mul(2).max(MOST_ENTRIES)
    }

    /// Returns what opens the entries of a map. That takes long for a large one.
    pub(crate) fn opener(&self) -> Opener {
        Opener { secret: self.secret.clone(), place: self.place.clone() }
    }

    /// Merges with all entries of the map in Redis, as it was at the end `last` of the log. `None` stands
    /// for a foreign one. Returns the changes that others told.
    pub(crate) fn merge_whole(
        &mut self,
        last: Position,
        fields: impl IntoIterator<Item = Option<(Id, Entry, bool)>>,
        now: Moment,
    ) -> Vec<CutoffChange> {
        let mut changes = Vec::new();
        let mut map = CutoffMap::default();
        let mut aged = Vec::new();
        self.foreign_entries = 0;
        for opened in fields {
            let Some((id, entry, is_current)) = opened else {
                self.count_foreign_entry();
                continue;
            };
            if self.map.get(id).is_none() {
                changes.push(self.change_of(&entry, now));
            }
            if !is_current {
                aged.push((id, entry.clone()));
            }
            map.add(id, entry);
        }
        let before = mem::replace(&mut self.map, map);
        self.position = Some(last);
        let unread = mem::take(&mut self.unread);
        for (id, entry) in before.into_entries().chain(unread) {
            if self.map.get(id).is_none() && self.is_needed(id, &entry, now) {
                self.missing.insert(id, entry);
            }
        }
        // Sealed again, with the current secret.
        self.missing.extend(aged);
        self.history.clear();
        self.remember(last);
        self.lengths.clear();
        // It may have been away, and has not heard them since.
        self.publishers.excuse(now);
        self.excused_at = now;
        (self.heard_own, self.hears_own) = (self.number, false);
        self.sealed_with = self.secret.generation();
        // Whatever it was before, also one that somebody made up.
        self.furthest = Some(last);
        self.loaded_at = self.loaded_at.or(Some(now));
        self.merged(now);
        changes
    }

    /// Merges with the names of all entries of the map in Redis, as it was at the end `last` of the log.
    /// Returns the entries that this instance does not know.
    ///
    /// If it has not read the log exactly to there, everything must be merged instead.
    pub(crate) fn merge_names(
        &mut self,
        last: Position,
        fields: Vec<Vec<u8>>,
        now: Moment,
    ) -> Result<Vec<Id>, NotThere> {
        if self.position != Some(last) {
            self.doubt(Doubt::Regress);
            return Err(NotThere);
        }
        let mut unknown = Vec::new();
        let mut names = HashSet::with_capacity(fields.len());
        self.foreign_entries = 0;
        for field in fields {
            match Id::of_field(&field) {
                Some(id) if self.map.get(id).is_some() => drop(names.insert(id)),
                Some(id) => unknown.push(id),
                None => self.count_foreign_entry(),
            }
        }
        let missing = self.map.ids().filter(|id| !names.contains(id));
        let missing = missing.filter_map(|id| Some((id, self.map.get(id)?.clone())));
        self.missing.extend(missing);
        self.missing.extend(self.unread.drain());
        self.merged(now);
        Ok(unknown)
    }

    /// Takes the value of an entry that this instance did not know. Returns the change, or `None` if it is
    /// foreign.
    pub(crate) fn adopt(&mut self, id: Id, sealed: &[u8], now: Moment) -> Option<CutoffChange> {
        let Some((entry, _)) = self.place.open_entry(&self.secret, id, sealed) else {
            self.count_foreign_entry();
            return None;
        };
        if !self.is_needed(id, &entry, now) {
            self.superfluous.insert(id);
            return None;
        }
        let change = self.change_of(&entry, now);
        // The others may not know it either.
        self.missing.insert(id, entry);
        Some(change)
    }

    fn count_foreign_entry(&mut self) {
        self.foreign_entries += 1;
        self.foreign += 1;
    }

    fn merged(&mut self, now: Moment) {
        // What was not read by now is not in the log any more.
        self.lost_outdates.extend(self.unread_outdates.drain());
        self.merged_at = Some(now);
        self.wants_merge = None;
        self.merge_failed_at = None;
        let time = self.earliest_time(now);
        self.superfluous.extend(self.map.superfluous(
            self.settings.lifetime,
            time,
            MAX_SUPERFLUOUS,
        ));
        // To be compared with the maps of others at once.
        self.wrote_at = None;
    }

    /// Takes the doubt that ends with the last merge.
    pub(crate) fn take_doubt(&mut self) -> Option<Doubt> {
        if self.wants_merge.is_some() { None } else { self.doubt.take() }
    }
}

/// Opens entries of the map in Redis.
pub(crate) struct Opener {
    secret: SharedSecret,
    place: Place,
}

impl Opener {
    /// Returns an entry, with true if it was sealed with the current secret. `None` if it does not belong
    /// there.
    pub(crate) fn open(&self, field: &[u8], sealed: &[u8]) -> Option<(Id, Entry, bool)> {
        let id = Id::of_field(field)?;
        let (entry, is_current) = self.place.open_entry(&self.secret, id, sealed)?;
        Some((id, entry, is_current))
    }
}

/// The log was not read to the end that the map belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotThere;
