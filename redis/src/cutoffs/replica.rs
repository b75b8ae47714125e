//! The state of one instance in the protocol. It does no I/O.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    mem,
    time::Duration,
};

use tower_introspect::{
    clock::{Moment, UnixTime},
    revocation::{Cutoff, CutoffChange, FeedState},
};

use super::{
    entry::Entry,
    id::{Id, IdSource, Position},
    map::{CutoffMap, Digest},
    message::{Message, Outdate, Place, Unreadable},
    outbox::{Effect, Outbox, Waiting},
    publishers::{self, Publishers},
};
use crate::secret::{NoRandomness, SharedSecret};

/// The most bytes of the names of one cutoff. A longer one is widened to its issuer.
const MAX_NAME: usize = 4 * 1024;

/// The number of earlier states of the map that are kept, to compare them with those of others.
pub(super) const HISTORY: usize = 4096;

/// The times and limits of a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The time between two messages of an instance that has nothing to tell.
    pub(crate) heartbeat: Duration,
    /// The time after which an instance that is not heard is missed.
    pub(crate) silence: Duration,
    /// The time between two merges with the map.
    pub(crate) merge: Duration,
    /// The largest difference between the clocks of two instances.
    pub(crate) clock_difference: Duration,
    /// The most entries of the map.
    pub(crate) capacity: usize,
    /// The longest lifetime of a token, if it is limited.
    pub(crate) lifetime: Option<Duration>,
}

/// The reason why cutoffs may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// A message of another instance was not read.
    Gap,
    /// Another instance knows another map at the same position.
    OtherMap,
    /// Another instance ended without saying so, or its messages are held back.
    Silence,
    /// This instance does not read what it writes.
    Away,
    /// The log went back: it lost messages.
    Regress,
}

impl Doubt {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "a message is missing",
            Self::OtherMap => "another instance knows other cutoffs",
            Self::Silence => "another instance is silent",
            Self::Away => "Redis is away",
            Self::Regress => "Redis lost messages",
        }
    }
}

/// A message whose outcome is not known.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) message: Message,
    /// The number of changes in the outbox that are told with it.
    pub(super) tells: u64,
}

/// The kind of merge that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// With the names of all entries.
    Names,
    /// With all entries.
    Whole,
}

/// The state of one instance.
pub(crate) struct Replica {
    pub(super) own: Id,
    pub(super) ids: IdSource,
    pub(super) secret: SharedSecret,
    pub(super) place: Place,
    pub(super) settings: Settings,
    pub(super) map: CutoffMap,
    pub(super) publishers: Publishers,
    pub(super) outbox: Outbox,
    /// Entries that are missing in Redis.
    pub(super) missing: BTreeMap<Id, Entry>,
    /// Entries that are not needed.
    pub(super) superfluous: BTreeSet<Id>,
    /// The number of the last own message that made room in a map that was too large.
    pub(super) shrunk_by: Option<u64>,
    pub(super) sending: Option<Sending>,
    /// Own entries that were written and not read yet. Redis may lose them in between.
    pub(super) unread: HashMap<Id, Entry>,
    /// Own outdated names that were written and not read yet.
    pub(super) unread_outdates: HashSet<Outdate>,
    /// Own outdated names that must be written again, because Redis has lost them.
    pub(super) lost_outdates: HashSet<Outdate>,
    /// The number of the last message that was written.
    pub(super) number: u64,
    /// The number of changes that were written.
    pub(super) written: u64,
    /// The number of changes that were written, and that enough replicas of Redis have.
    pub(super) told: u64,
    /// The last position that was read. `None` until the map was read.
    pub(super) position: Option<Position>,
    /// The positions at which the map changed, with the map since then.
    pub(super) history: VecDeque<(Position, Digest)>,
    /// The length of the map in Redis at positions of own messages that are not read yet.
    pub(super) lengths: VecDeque<(Position, u64)>,
    /// The furthest position that was read or written.
    pub(super) furthest: Option<Position>,
    pub(super) wrote_at: Option<Moment>,
    pub(super) heard_own_at: Moment,
    /// The time of the last merge with all entries. It need not have heard itself before.
    pub(super) excused_at: Moment,
    /// The number of the last own message that was read.
    pub(super) heard_own: u64,
    /// True if one was read since the whole map was: this instance can write.
    pub(super) hears_own: bool,
    pub(super) heard_later_version_at: Option<Moment>,
    /// The time at which the map was first read. Shortly after that the others are not known yet.
    pub(super) loaded_at: Option<Moment>,
    pub(super) merged_at: Option<Moment>,
    pub(super) merge_failed_at: Option<Moment>,
    /// The generation of the secret at the last merge with the whole map.
    pub(super) sealed_with: u64,
    pub(super) wants_merge: Option<Merge>,
    pub(super) doubt: Option<Doubt>,
    /// The number of entries in Redis that were not sealed with the secret.
    pub(super) foreign_entries: u64,
    /// The number of entries and messages of that kind that were read since they were last counted.
    pub(super) foreign: u64,
}

impl Replica {
    pub(crate) fn new(
        secret: SharedSecret,
        place: Place,
        settings: Settings,
        now: Moment,
    ) -> Result<Self, NoRandomness> {
        let mut ids = IdSource::new()?;
        Ok(Self {
            own: ids.next(),
            ids,
            secret,
            place,
            settings,
            map: CutoffMap::default(),
            publishers: Publishers::default(),
            outbox: Outbox::default(),
            missing: BTreeMap::new(),
            superfluous: BTreeSet::new(),
            shrunk_by: None,
            sending: None,
            unread: HashMap::new(),
            unread_outdates: HashSet::new(),
            lost_outdates: HashSet::new(),
            number: 0,
            written: 0,
            told: 0,
            position: None,
            history: VecDeque::new(),
            lengths: VecDeque::new(),
            furthest: None,
            wrote_at: None,
            heard_own_at: now,
            excused_at: now,
            heard_own: 0,
            hears_own: false,
            heard_later_version_at: None,
            loaded_at: None,
            merged_at: None,
            merge_failed_at: None,
            sealed_with: 0,
            wants_merge: Some(Merge::Whole),
            doubt: None,
            foreign_entries: 0,
            foreign: 0,
        })
    }

    /// Returns the last position that was read, if the map was.
    pub(crate) const fn position(&self) -> Option<Position> {
        self.position
    }

    /// Returns the time between two messages of an instance that has nothing to tell.
    pub(crate) const fn heartbeat(&self) -> Duration {
        self.settings.heartbeat
    }

    /// Returns true if some changes were not told.
    pub(crate) fn has_untold(&self) -> bool {
        self.told < self.outbox.count()
    }

    /// Returns true if changes were written, and it is not known whether enough replicas of Redis have them.
    pub(crate) const fn has_unconfirmed(&self) -> bool {
        self.told < self.written
    }

    /// Notes that enough replicas of Redis have what was written. Returns the number of changes that every
    /// other instance can learn of.
    pub(crate) fn confirm(&mut self) -> u64 {
        self.told = self.written;
        self.told
    }

    /// Returns the number of foreign entries and messages since the last call.
    pub(crate) fn take_foreign(&mut self) -> u64 {
        mem::take(&mut self.foreign)
    }

    /// Takes a change of this instance.
    pub(crate) fn publish(&mut self, change: &CutoffChange) {
        let cutoff = change.cutoff();
        let effect = match change {
            CutoffChange::Revoke(cutoff) => Effect::Revoke(cutoff.time()),
            CutoffChange::Outdate(_) => Effect::Outdate,
        };
        let lengths = [Some(cutoff.issuer_name()), cutoff.value(), cutoff.subject_name()];
        if lengths.into_iter().flatten().map(str::len).sum::<usize>() > MAX_NAME {
            let whole = Cutoff::issuer(cutoff.issuer_name());
            return self.outbox.put(Waiting::new(&whole, effect));
        }
        self.outbox.put(Waiting::new(cutoff, effect));
    }

    /// Returns the state at this moment.
    pub(crate) fn state(&self, now: Moment) -> FeedState {
        let is_recent = |at| now.since(at) < self.settings.silence;
        let is_current = self.position.is_some()
            && self.doubt.is_none()
            && self.hears_own
            && is_recent(self.heard_own_at)
            && !self.heard_later_version_at.is_some_and(is_recent);
        if is_current { FeedState::Current } else { FeedState::Behind }
    }

    /// Notices who is not heard.
    pub(crate) fn tick(&mut self, now: Moment) {
        // Also by the wall clock: the other one stands still while the machine sleeps.
        let is_long_ago = |at| now.since(at) >= self.settings.silence;
        if is_long_ago(self.heard_own_at) && is_long_ago(self.excused_at) {
            self.doubt(Doubt::Away);
        } else if self.publishers.remove_silent(self.settings.silence, now) > 0 {
            self.doubt(Doubt::Silence);
        }
    }

    pub(super) fn doubt(&mut self, doubt: Doubt) {
        self.doubt = self.doubt.max(Some(doubt));
        self.want(if doubt == Doubt::Silence { Merge::Names } else { Merge::Whole });
    }

    pub(super) fn want(&mut self, merge: Merge) {
        if self.wants_merge != Some(Merge::Whole) {
            self.wants_merge = Some(merge);
        }
    }

    /// Reads a message of the log. Returns the changes of other instances.
    pub(crate) fn read(&mut self, at: Position, sealed: &[u8], now: Moment) -> Vec<CutoffChange> {
        if self.position.is_none_or(|position| at <= position) {
            return Vec::new();
        }
        self.position = Some(at);
        let changes = match Message::open(&self.secret, &self.place, sealed) {
            Ok(message) => self.apply(at, message, now),
            Err(Unreadable::Foreign) => {
                self.foreign += 1;
                Vec::new()
            }
            Err(Unreadable::Later) => {
                self.heard_later_version_at = Some(now);
                Vec::new()
            }
        };
        self.compare_lengths(at);
        changes
    }

    fn apply(&mut self, at: Position, message: Message, now: Moment) -> Vec<CutoffChange> {
        let is_own = message.publisher == self.own;
        if is_own {
            if message.number <= self.heard_own {
                return Vec::new();
            }
            if message.number != self.heard_own + 1 {
                // Redis has lost one.
                self.want(Merge::Whole);
            }
            (self.heard_own_at, self.heard_own, self.hears_own) = (now, message.number, true);
        } else {
            let (here, there) = (now.wall(), UnixTime::from_millis(message.time));
            let difference =
                here.saturating_duration_since(there) + there.saturating_duration_since(here);
            let is_fresh = difference <= self.settings.clock_difference + self.settings.silence;
            match self.note(&message, is_fresh, now) {
                publishers::Place::Repeated => return Vec::new(),
                publishers::Place::AfterGap => self.doubt(Doubt::Gap),
                publishers::Place::Next => {}
            }
            if self.digest_at(message.seen).is_some_and(|known| known != message.map) {
                self.doubt(Doubt::OtherMap);
            }
        }
        let mut changes = Vec::new();
        let before = self.map.digest();
        for (id, entry) in message.add {
            self.unread.remove(&id);
            self.missing.remove(&id);
            let change = self.change_of(&entry, now);
            if self.map.add(id, entry) && !is_own {
                changes.push(change);
            }
        }
        for id in message.remove {
            self.map.remove(id);
        }
        if self.map.digest() != before {
            self.remember(at);
        }
        if is_own {
            for outdate in &message.outdate {
                self.unread_outdates.remove(outdate);
            }
        } else {
            changes.extend(message.outdate.iter().map(Outdate::to_change));
            if message.bye {
                self.publishers.remove(message.publisher);
            }
        }
        changes
    }

    /// Notes who sent a message. An old one shows nobody to be alive: it may be sent again by somebody
    /// else.
    fn note(&mut self, message: &Message, is_fresh: bool, now: Moment) -> publishers::Place {
        let accepts_new = self
            .loaded_at
            .is_some_and(|loaded| now.monotonic_since(loaded) < 2 * self.settings.silence);
        self.publishers.note(message.publisher, message.number, now, is_fresh, accepts_new)
    }

    pub(super) fn change_of(&mut self, entry: &Entry, now: Moment) -> CutoffChange {
        entry.to_cutoff().map_or_else(
            || {
                // A later program knows more kinds.
                self.heard_later_version_at = Some(now);
                CutoffChange::Outdate(Cutoff::issuer(&*entry.name.issuer))
            },
            CutoffChange::Revoke,
        )
    }

    pub(super) fn remember(&mut self, at: Position) {
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((at, self.map.digest()));
    }

    /// Returns the map at a position, if it is known.
    fn digest_at(&self, at: Position) -> Option<Digest> {
        let after = self.history.partition_point(|(position, _)| *position <= at);
        let (_, digest) = self.history.get(after.checked_sub(1)?)?;
        (self.position? >= at).then_some(*digest)
    }

    /// Compares the length of the map in Redis with that of this map, at each own message.
    fn compare_lengths(&mut self, at: Position) {
        while let Some((position, length)) = self.lengths.front().copied()
            && position <= at
        {
            self.lengths.pop_front();
            let expected = |digest: Digest| digest.count + self.foreign_entries;
            if self.digest_at(position).is_some_and(|digest| expected(digest) != length) {
                self.want(Merge::Names);
            }
        }
    }

    /// Returns true unless another entry covers this one, or it has ended.
    pub(super) fn is_needed(&self, id: Id, entry: &Entry, now: Moment) -> bool {
        !self.map.is_covered(id, entry)
            && !entry.has_ended(self.settings.lifetime, self.earliest_time(now))
    }

    /// Returns the earlier time of the clocks of this instance and of Redis. Entries are removed from all
    /// instances, which one wrong clock must not cause.
    pub(super) fn earliest_time(&self, now: Moment) -> UnixTime {
        let millis = self.position.map_or(0, |position| position.0);
        now.wall().min(UnixTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
