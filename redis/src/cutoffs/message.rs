//! A message in the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tower_introspect::revocation::{Cutoff, CutoffChange};

use super::{
    entry::{Entry, Name},
    id::{Id, Position},
    map::Digest,
};
use crate::secret::{NoRandomness, SharedSecret};

/// The version of the form of messages and entries. Members may be added to a version.
const VERSION: u8 = 1;

/// The longest message in bytes that is read.
pub(crate) const MAX_MESSAGE: usize = 1024 * 1024;

/// A message of one instance to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    v: u8,
    pub(crate) publisher: Id,
    /// One more than that of the message before. The first has 1.
    pub(crate) number: u64,
    /// The wall-clock time in milliseconds at which it was sealed.
    pub(crate) time: i64,
    /// The last position in the log that the publisher had read.
    pub(crate) seen: Position,
    /// The map as the publisher knew it at that position.
    pub(crate) map: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) add: Vec<(Id, Entry)>,
    /// Entries that others cover, or that have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<Id>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) outdate: Vec<Outdate>,
    /// True if the publisher ends. It is not missed then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) bye: bool,
}

/// The tokens about which facts are outdated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Outdate {
    #[serde(flatten)]
    pub(crate) name: Name,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Arc<str>>,
}

impl Outdate {
    /// Returns the change that it tells.
    pub(super) fn to_change(&self) -> CutoffChange {
        // A kind that only a later program knows is widened.
        let named = self.name.to_cutoff();
        let cutoff = named.unwrap_or_else(|| Cutoff::issuer(&*self.name.issuer));
        CutoffChange::Outdate(match &self.subject {
            Some(subject) => cutoff.of_subject(&**subject),
            None => cutoff,
        })
    }
}

/// The reason why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It was not sealed with the secret of the service.
    Foreign,
    /// It was, in a form of a later version.
    Later,
}

impl Message {
    pub(crate) const fn new(publisher: Id, number: u64) -> Self {
        Self {
            v: VERSION,
            publisher,
            number,
            time: 0,
            seen: Position(0, 0),
            map: Digest { count: 0, sum: Id(0) },
            add: Vec::new(),
            remove: Vec::new(),
            outdate: Vec::new(),
            bye: false,
        }
    }

    pub(crate) fn seal(
        &self,
        secret: &SharedSecret,
        place: &Place,
    ) -> Result<Vec<u8>, NoRandomness> {
        // It holds no map with keys other than texts, and no number that JSON can't hold.
        let text = serde_json::to_vec(self).map_err(|_| NoRandomness)?;
        secret.seal(&place.log(), &text)
    }

    pub(crate) fn open(
        secret: &SharedSecret,
        place: &Place,
        sealed: &[u8],
    ) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Form {
            v: u8,
        }
        if sealed.len() > MAX_MESSAGE {
            return Err(Unreadable::Foreign);
        }
        let opened = secret.open(&place.log(), sealed).ok_or(Unreadable::Foreign)?;
        let form: Form = serde_json::from_slice(&opened.text).map_err(|_| Unreadable::Later)?;
        if form.v != VERSION {
            return Err(Unreadable::Later);
        }
        serde_json::from_slice(&opened.text).map_err(|_| Unreadable::Later)
    }

    /// Returns true if it changes nothing.
    pub(crate) fn is_heartbeat(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty() && self.outdate.is_empty() && !self.bye
    }
}

/// The place that something is sealed for. It opens at no other one.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    prefix: String,
    epoch: u32,
}

impl Place {
    pub(crate) const fn new(prefix: String, epoch: u32) -> Self {
        Self { prefix, epoch }
    }

    fn log(&self) -> Vec<u8> {
        format!("log {} {}", self.epoch, self.prefix).into_bytes()
    }

    fn entry(&self, id: Id) -> Vec<u8> {
        format!("entry {} {id} {}", self.epoch, self.prefix).into_bytes()
    }

    /// Seals an entry of the map.
    pub(crate) fn seal_entry(
        &self,
        secret: &SharedSecret,
        id: Id,
        entry: &Entry,
    ) -> Result<Vec<u8>, NoRandomness> {
        let text = serde_json::to_vec(entry).map_err(|_| NoRandomness)?;
        secret.seal(&self.entry(id), &text)
    }

    /// Opens an entry of the map. Returns it with true if it was sealed with the current secret.
    pub(crate) fn open_entry(
        &self,
        secret: &SharedSecret,
        id: Id,
        sealed: &[u8],
    ) -> Option<(Entry, bool)> {
        let opened = secret.open(&self.entry(id), sealed)?;
        Some((serde_json::from_slice(&opened.text).ok()?, opened.is_current))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SharedSecret {
        SharedSecret::new(&[7; 32]).unwrap()
    }

    fn place(epoch: u32) -> Place {
        Place::new("p:".to_owned(), epoch)
    }

    #[test]
    fn message_opens_in_its_log_and_epoch_only() {
        let message = Message::new(Id(1), 2);
        let sealed = message.seal(&secret(), &place(1)).unwrap();
        assert_eq!(Message::open(&secret(), &place(1), &sealed), Ok(message));
        assert_eq!(Message::open(&secret(), &place(2), &sealed), Err(Unreadable::Foreign));
        let other = Place::new("q:".to_owned(), 1);
        assert_eq!(Message::open(&secret(), &other, &sealed), Err(Unreadable::Foreign));
        assert!(place(1).open_entry(&secret(), Id(1), &sealed).is_none());
    }

    #[test]
    fn members_that_a_later_program_adds_are_ignored_and_other_forms_are_noticed() {
        let seal = |text: &str| secret().seal(&place(1).log(), text.as_bytes()).unwrap();
        let open = |text: &str| Message::open(&secret(), &place(1), &seal(text));
        let text = serde_json::to_string(&Message::new(Id(1), 2)).unwrap();
        let more = text.replacen('{', r#"{"new":{"a":1},"#, 1);
        assert_eq!(open(&more), Ok(Message::new(Id(1), 2)));
        assert_eq!(open(&text.replace("\"v\":1", "\"v\":2")), Err(Unreadable::Later));
        assert_eq!(open("{}"), Err(Unreadable::Later));
    }

    #[test]
    fn entry_opens_under_its_own_name_only() {
        let name = Name { issuer: "as".into(), kind: "subject".into(), value: Some("a".into()) };
        let time = tower_introspect::clock::UnixTime::from_secs(1);
        let entry = Entry::new(name, None, time, time, None, Id(7));
        let sealed = place(1).seal_entry(&secret(), Id(1), &entry).unwrap();
        assert_eq!(place(1).open_entry(&secret(), Id(1), &sealed), Some((entry, true)));
        assert_eq!(place(1).open_entry(&secret(), Id(2), &sealed), None);
        assert_eq!(place(2).open_entry(&secret(), Id(1), &sealed), None);
    }
}
