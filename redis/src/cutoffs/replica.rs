//! What one instance knows, and what it does next. It sends and receives nothing by itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use tower_introspect::{
    clock::{Moment, UnixTime},
    revocation::{Cutoff, CutoffChange, FeedState},
};

use super::{
    entry::{Entry, Name},
    id::{Id, Position},
    map::{CutoffMap, Digest},
    message::{Message, Outdate, Place, Unreadable},
    outbox::{Effect, Outbox, Waiting},
    publishers::{self, Publishers},
};
use crate::secret::{NoRandomness, SharedSecret};

/// The most changes, and the most removals, in one message.
const MAX_CHANGES: usize = 64;
const MAX_REMOVALS: usize = 500;

/// The most bytes of names in one message.
const MAX_NAMES: usize = 64 * 1024;

/// The most bytes of the names of one cutoff. A longer one is widened to its issuer.
const MAX_NAME: usize = 4 * 1024;

/// The most entries of a map that is read at once, if it may not have more of them.
const MOST_ENTRIES: u64 = 250_000;

/// The least time between two merges, in heartbeats.
const MERGE_PAUSE: u32 = 5;

/// The most outdated names that are kept until they are read.
const MAX_UNREAD: usize = 1_000;

/// The number of earlier states of the map that are kept, to compare them with those of others.
const HISTORY: usize = 4096;

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

/// A transaction to be written.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) set: Vec<(Id, Vec<u8>)>,
    pub(crate) delete: Vec<Id>,
    pub(crate) message: Vec<u8>,
}

/// A message whose outcome is not known.
#[derive(Debug)]
struct Sending {
    message: Message,
    /// The number of changes in the outbox that are told with it.
    tells: u64,
}

/// The kind of merge that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// With the names of all entries.
    Names,
    /// With all entries.
    Whole,
}

/// What one instance knows.
pub(crate) struct Replica {
    own: Id,
    secret: SharedSecret,
    place: Place,
    settings: Settings,
    map: CutoffMap,
    publishers: Publishers,
    pub(super) outbox: Outbox,
    /// Entries that are missing in Redis.
    missing: BTreeMap<Id, Entry>,
    /// Entries that are not needed.
    superfluous: BTreeSet<Id>,
    /// The number of the last own message that made room in a map that was too large.
    shrunk_by: Option<u64>,
    sending: Option<Sending>,
    /// Own entries that were written and not read yet. Redis may lose them in between.
    unread: HashMap<Id, Entry>,
    /// What else was written and not read yet.
    unread_outdates: HashSet<Outdate>,
    /// What must be told again, because Redis has lost it.
    lost_outdates: HashSet<Outdate>,
    /// The number of the last message that was written.
    number: u64,
    /// The number of changes that were told.
    told: u64,
    /// The last position that was read. `None` until the map was read.
    position: Option<Position>,
    /// The positions at which the map changed, with the map since then.
    history: VecDeque<(Position, Digest)>,
    /// The length of the map in Redis at positions of own messages that are not read yet.
    lengths: VecDeque<(Position, u64)>,
    /// The furthest position that was read or written.
    furthest: Option<Position>,
    wrote_at: Option<Moment>,
    heard_own_at: Moment,
    /// The time of the last merge with all entries. It need not have heard itself before.
    excused_at: Moment,
    /// The number of the last own message that was read.
    heard_own: u64,
    /// True if one was read since the whole map was. Who can't write can't tell.
    hears_own: bool,
    heard_later_version_at: Option<Moment>,
    /// The time at which the map was first read. Shortly after that the others are not known yet.
    loaded_at: Option<Moment>,
    merged_at: Option<Moment>,
    merge_failed_at: Option<Moment>,
    /// The generation of the secret at the last merge with the whole map.
    sealed_with: u64,
    wants_merge: Option<Merge>,
    doubt: Option<Doubt>,
    /// The number of entries in Redis that were not sealed with the secret.
    foreign_entries: u64,
    /// The number of entries and messages of that kind that were read since they were last counted.
    foreign: u64,
}

impl Replica {
    pub(crate) fn new(
        secret: SharedSecret,
        place: Place,
        settings: Settings,
        now: Moment,
    ) -> Result<Self, NoRandomness> {
        Ok(Self {
            own: Id::random()?,
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

    /// Returns the number of changes that every other instance can learn of.
    pub(crate) const fn told(&self) -> u64 {
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

    fn doubt(&mut self, doubt: Doubt) {
        self.doubt = self.doubt.max(Some(doubt));
        self.want(if doubt == Doubt::Silence { Merge::Names } else { Merge::Whole });
    }

    fn want(&mut self, merge: Merge) {
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

    fn change_of(&mut self, entry: &Entry, now: Moment) -> CutoffChange {
        entry.to_cutoff().map_or_else(
            || {
                // A later program knows more kinds.
                self.heard_later_version_at = Some(now);
                CutoffChange::Outdate(Cutoff::issuer(&*entry.name.issuer))
            },
            CutoffChange::Revoke,
        )
    }

    fn remember(&mut self, at: Position) {
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

    /// Returns the next transaction, if there is something to tell or a heartbeat is due. It stays the
    /// next one until [`written`](Self::written) is called.
    pub(crate) fn next_write(&mut self, now: Moment) -> Result<Option<Write>, NoRandomness> {
        let Some(position) = self.position else { return Ok(None) };
        let sending = match self.sending.take() {
            Some(sending) => sending,
            None => match self.next_message(now)? {
                Some(message) => Sending { message, tells: self.outbox.taken() },
                None => return Ok(None),
            },
        };
        let message = &mut self.sending.insert(sending).message;
        message.time = now.wall().as_millis();
        message.seen = position;
        message.map = self.map.digest();
        let seal =
            |(id, entry): &(Id, Entry)| Ok((*id, self.place.seal_entry(&self.secret, *id, entry)?));
        Ok(Some(Write {
            set: message.add.iter().map(seal).collect::<Result<_, _>>()?,
            delete: message.remove.clone(),
            message: message.seal(&self.secret, &self.place)?,
        }))
    }

    fn next_message(&mut self, now: Moment) -> Result<Option<Message>, NoRandomness> {
        let mut message = Message::new(self.own, self.number + 1);
        let mut length = 0;
        while message.add.len() + message.outdate.len() < MAX_CHANGES && length < MAX_NAMES {
            let Some(change) = self.outbox.take(1).pop() else { break };
            length += change.name.length();
            self.tell(change, now.wall(), &mut message)?;
        }
        while message.add.len() < MAX_CHANGES && length < MAX_NAMES {
            let Some((id, entry)) = self.missing.pop_first() else { break };
            length += entry.name.length();
            if self.is_needed(id, &entry, now) {
                message.add.push((id, entry));
            } else {
                self.superfluous.insert(id);
            }
        }
        while length < MAX_NAMES {
            let Some(outdate) = self.lost_outdates.iter().next().cloned() else { break };
            length += outdate.name.length();
            self.lost_outdates.remove(&outdate);
            message.outdate.push(outdate);
        }
        let gone = std::iter::from_fn(|| self.superfluous.pop_first());
        message.remove.extend(gone.take(MAX_REMOVALS));
        // Not again before this instance has read what came of it.
        let is_shrinking = self.shrunk_by.is_some_and(|number| number > self.heard_own);
        if !is_shrinking && self.map.len() + message.add.len() > self.settings.capacity {
            self.shrink(now, &mut message)?;
            self.shrunk_by = Some(message.number);
        }
        let is_due =
            self.wrote_at.is_none_or(|wrote| now.monotonic_since(wrote) >= self.settings.heartbeat);
        Ok((is_due || !message.is_heartbeat()).then_some(message))
    }

    /// Adds a change to a message.
    fn tell(
        &self,
        change: Waiting,
        now: UnixTime,
        message: &mut Message,
    ) -> Result<(), NoRandomness> {
        let Waiting { mut name, mut subject, effect } = change;
        let Effect::Revoke(at) = effect else {
            message.outdate.push(Outdate { name, subject });
            return Ok(());
        };
        let mut at = at.unwrap_or(now);
        let is_part = matches!(&*name.kind, "session" | "token");
        if let Some(owner) = subject.as_ref().filter(|_| is_part)
            && let Some((folded, until)) = self.map.fold_subject(&name, owner)
        {
            at = until.max(name.until(at));
            (name, subject) = (folded, None);
        }
        if self.map.covers(&name, at) {
            // It is in the map, and facts from after that are outdated again.
            message.outdate.push(Outdate { name, subject });
            return Ok(());
        }
        message.remove.extend(self.map.covered_by(&name, at));
        message.add.push((Id::random()?, self.entry(name, subject, at, now)?));
        Ok(())
    }

    fn entry(
        &self,
        name: Name,
        subject: Option<Arc<str>>,
        at: UnixTime,
        now: UnixTime,
    ) -> Result<Entry, NoRandomness> {
        Entry::new(name, subject, at, now, self.settings.lifetime)
    }

    /// Makes room in a map that is too large.
    fn shrink(&self, now: Moment, message: &mut Message) -> Result<(), NoRandomness> {
        let time = self.earliest_time(now);
        let superfluous = self.map.superfluous(self.settings.lifetime, time, MAX_REMOVALS);
        if superfluous.is_empty()
            && let Some((name, at)) = self.map.fold_issuer()
        {
            message.add.push((Id::random()?, self.entry(name, None, at, now.wall())?));
        }
        message.remove.extend(superfluous);
        Ok(())
    }

    /// Notes that the next transaction was written at a position of the log, where the map in Redis has
    /// this length.
    pub(crate) fn written(&mut self, at: Position, length: u64, now: Moment) {
        let Some(sending) = self.sending.take() else { return };
        self.number = sending.message.number;
        self.unread.extend(sending.message.add);
        self.told = self.told.max(sending.tells);
        self.wrote_at = Some(now);
        // The log went back if it gives a position that it gave before.
        self.furthest = self.furthest.max(self.position);
        let went_back = self.furthest.is_some_and(|before| at <= before);
        self.furthest = self.furthest.max(Some(at));
        // Others may have read further, and miss the message.
        let again = if went_back { &mut self.lost_outdates } else { &mut self.unread_outdates };
        if again.len() < MAX_UNREAD {
            again.extend(sending.message.outdate);
        }
        if went_back {
            self.doubt(Doubt::Regress);
        } else if self.lengths.len() < HISTORY {
            self.lengths.push_back((at, length));
        }
    }

    /// Returns the last message of this instance, by which the others do not miss it.
    pub(crate) fn farewell(&self, now: Moment) -> Result<Option<Write>, NoRandomness> {
        let Some(position) = self.position else { return Ok(None) };
        let number =
            self.sending.as_ref().map_or(self.number, |sending| sending.message.number) + 1;
        let mut message = Message::new(self.own, number);
        message.time = now.wall().as_millis();
        message.seen = position;
        message.map = self.map.digest();
        message.bye = true;
        let message = message.seal(&self.secret, &self.place)?;
        Ok(Some(Write { set: Vec::new(), delete: Vec::new(), message }))
    }

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
            match id_of(&field) {
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

    /// Returns true unless another entry covers this one, or it has ended.
    fn is_needed(&self, id: Id, entry: &Entry, now: Moment) -> bool {
        !self.map.is_covered(id, entry)
            && !entry.has_ended(self.settings.lifetime, self.earliest_time(now))
    }

    /// Returns the earlier time of the clocks of this instance and of Redis. Entries are removed from all
    /// instances, which one wrong clock must not cause.
    fn earliest_time(&self, now: Moment) -> UnixTime {
        let millis = self.position.map_or(0, |position| position.0);
        now.wall().min(UnixTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
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
            10 * MAX_REMOVALS,
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
        let id = id_of(field)?;
        let (entry, is_current) = self.place.open_entry(&self.secret, id, sealed)?;
        Some((id, entry, is_current))
    }
}

/// The log was not read to the end that the map belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotThere;

impl Outdate {
    fn to_change(&self) -> CutoffChange {
        // A kind that only a later program knows is widened.
        let named = self.name.to_cutoff();
        let cutoff = named.unwrap_or_else(|| Cutoff::issuer(&*self.name.issuer));
        CutoffChange::Outdate(match &self.subject {
            Some(subject) => cutoff.of_subject(&**subject),
            None => cutoff,
        })
    }
}

impl Name {
    fn length(&self) -> usize {
        self.issuer.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

fn id_of(field: &[u8]) -> Option<Id> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
