//! The messages that an instance writes.

use std::sync::Arc;

use tower_introspect::clock::{Moment, UnixTime};

use super::{
    entry::{Entry, Name},
    id::{Id, Position},
    message::{Message, Outdate},
    outbox::{Effect, Waiting},
    replica::{Doubt, HISTORY, Replica, Sending},
};
use crate::secret::NoRandomness;

/// The most changes, and the most removals, in one message.
const MAX_CHANGES: usize = 64;
const MAX_REMOVALS: usize = 500;

/// The most bytes of names in one message.
const MAX_NAMES: usize = 64 * 1024;

/// The most outdated names that are kept until they are read.
const MAX_UNREAD: usize = 1_000;

/// A transaction to be written.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) set: Vec<(Id, Vec<u8>)>,
    pub(crate) delete: Vec<Id>,
    pub(crate) message: Vec<u8>,
}

impl Replica {
    /// Returns the next transaction, if there is something to tell or a heartbeat is due. It stays the
    /// next one until [`written`](Self::written) is called.
    pub(crate) fn next_write(&mut self, now: Moment) -> Result<Option<Write>, NoRandomness> {
        let Some(position) = self.position else { return Ok(None) };
        let sending = match self.sending.take() {
            Some(sending) => sending,
            None => match self.next_message(now) {
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

    fn next_message(&mut self, now: Moment) -> Option<Message> {
        let mut message = Message::new(self.own, self.number + 1);
        let mut length = 0;
        while message.add.len() + message.outdate.len() < MAX_CHANGES && length < MAX_NAMES {
            let Some(change) = self.outbox.take(1).pop() else { break };
            length += change.name.length();
            self.tell(change, now.wall(), &mut message);
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
            self.shrink(now, &mut message);
            self.shrunk_by = Some(message.number);
        }
        let is_due =
            self.wrote_at.is_none_or(|wrote| now.monotonic_since(wrote) >= self.settings.heartbeat);
        (is_due || !message.is_heartbeat()).then_some(message)
    }

    /// Adds a change to a message.
    fn tell(&mut self, change: Waiting, now: UnixTime, message: &mut Message) {
        let Waiting { mut name, mut subject, effect } = change;
        let Effect::Revoke(at) = effect else {
            return message.outdate.push(Outdate { name, subject });
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
            return message.outdate.push(Outdate { name, subject });
        }
        message.remove.extend(self.map.covered_by(&name, at));
        self.add(name, subject, at, now, message);
    }

    /// Adds an entry to a message.
    fn add(
        &mut self,
        name: Name,
        subject: Option<Arc<str>>,
        at: UnixTime,
        now: UnixTime,
        message: &mut Message,
    ) {
        let (id, salt) = (self.ids.next(), self.ids.next());
        let entry = Entry::new(name, subject, at, now, self.settings.lifetime, salt);
        message.add.push((id, entry));
    }

    /// Makes room in a map that is too large.
    fn shrink(&mut self, now: Moment, message: &mut Message) {
        let time = self.earliest_time(now);
        let superfluous = self.map.superfluous(self.settings.lifetime, time, MAX_REMOVALS);
        if superfluous.is_empty()
            && let Some((name, at)) = self.map.fold_issuer()
        {
            self.add(name, None, at, now.wall(), message);
        }
        message.remove.extend(superfluous);
    }

    /// Notes that the next transaction was written at a position of the log, where the map in Redis has
    /// this length.
    pub(crate) fn written(&mut self, at: Position, length: u64, now: Moment) {
        let Some(sending) = self.sending.take() else { return };
        self.number = sending.message.number;
        self.unread.extend(sending.message.add);
        self.written = self.written.max(sending.tells);
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
}
