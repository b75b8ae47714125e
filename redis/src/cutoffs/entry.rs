//! An entry of the map: one cutoff.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tower_introspect::{clock::UnixTime, revocation::Cutoff};

use super::id::Id;

/// The time by which the clock of an issuer may be ahead: the largest leeway of a policy.
const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(300);

/// The tokens that a cutoff names: all of an issuer, or those of one client, session, subject or `jti`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Name {
    #[serde(rename = "i")]
    pub(crate) issuer: Arc<str>,
    #[serde(rename = "k")]
    pub(crate) kind: Arc<str>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Arc<str>>,
}

/// A cutoff with the time until which issued tokens are revoked. An entry never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(flatten)]
    pub(crate) name: Name,
    /// The subject that a session or a token belongs to.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Arc<str>>,
    #[serde(rename = "a", with = "millis")]
    pub(crate) at: UnixTime,
    /// The time at which it was told, by the clock of the instance that told it.
    #[serde(rename = "t", with = "millis")]
    pub(crate) told_at: UnixTime,
    /// The longest lifetime of a token in milliseconds, if that instance limits it.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    lifetime: Option<u64>,
    /// A random number that only those who can open the entry know. The sum of them proves which
    /// entries a map has.
    #[serde(rename = "x")]
    pub(crate) salt: Id,
}

impl Name {
    pub(crate) fn of(cutoff: &Cutoff) -> Self {
        Self {
            issuer: cutoff.issuer_name().into(),
            kind: cutoff.kind().into(),
            value: cutoff.value().map(Into::into),
        }
    }

    pub(crate) fn issuer(issuer: &Arc<str>) -> Self {
        Self { issuer: Arc::clone(issuer), kind: "issuer".into(), value: None }
    }

    pub(crate) fn subject(issuer: &Arc<str>, subject: &Arc<str>) -> Self {
        let value = Some(Arc::clone(subject));
        Self { issuer: Arc::clone(issuer), kind: "subject".into(), value }
    }

    /// Returns the cutoff of this name, or `None` if its kind is not known.
    pub(crate) fn to_cutoff(&self) -> Option<Cutoff> {
        Cutoff::of_kind(&self.kind, &*self.issuer, self.value.as_deref())
    }

    /// Returns the number of bytes.
    pub(super) fn length(&self) -> usize {
        self.issuer.len() + self.value.as_ref().map_or(0, |value| value.len())
    }

    /// Returns the time until which a cutoff for more tokens must reach to cover one with this name and
    /// time. One token is revoked whenever it was issued, also by an issuer whose clock is ahead.
    pub(crate) fn until(&self, at: UnixTime) -> UnixTime {
        if &*self.kind == "token" { at.saturating_add(MAX_CLOCK_AHEAD) } else { at }
    }
}

impl Entry {
    /// Creates an entry for a cutoff that has a time.
    pub(crate) fn new(
        name: Name,
        subject: Option<Arc<str>>,
        at: UnixTime,
        told_at: UnixTime,
        lifetime: Option<Duration>,
        salt: Id,
    ) -> Self {
        let millis = |lifetime: Duration| u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let lifetime = lifetime.map(millis);
        Self { name, subject, at, told_at, lifetime, salt }
    }

    pub(crate) fn to_cutoff(&self) -> Option<Cutoff> {
        let cutoff = self.name.to_cutoff()?.at(self.at);
        Some(match &self.subject {
            Some(subject) => cutoff.of_subject(&**subject),
            None => cutoff,
        })
    }

    /// Returns the time until which a cutoff for more tokens must reach to cover this one. One token was
    /// issued before its revocation was told.
    pub(crate) fn until(&self) -> UnixTime {
        let is_token = &*self.name.kind == "token";
        self.name.until(if is_token { self.at.max(self.told_at) } else { self.at })
    }

    /// Returns true if every token that it covers has expired, where none lives longer than `lifetime` here,
    /// nor than the limit of the instance that told it. If one of them has no limit, it does not end.
    ///
    /// An expired token may be tolerated, and the clock of the issuer be ahead.
    pub(crate) fn has_ended(&self, lifetime: Option<Duration>, now: UnixTime) -> bool {
        let Some((here, there)) = lifetime.zip(self.lifetime) else { return false };
        let lifetime = here.max(Duration::from_millis(there));
        let until = self.at.max(self.told_at).saturating_add(lifetime);
        now >= until.saturating_add(2 * MAX_CLOCK_AHEAD)
    }
}

/// Times in milliseconds.
mod millis {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use tower_introspect::clock::UnixTime;

    pub(super) fn serialize<S: Serializer>(time: &UnixTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixTime, D::Error> {
        i64::deserialize(from).map(UnixTime::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixTime = UnixTime::from_secs(1_800_000_000);

    #[test]
    fn cutoffs_of_every_kind_survive_the_way_through_redis() {
        let issuer = "https://as.example.com";
        for cutoff in [
            Cutoff::issuer(issuer),
            Cutoff::subject(issuer, "alice"),
            Cutoff::session(issuer, "s").of_subject("alice"),
            Cutoff::client(issuer, "web"),
            Cutoff::token(issuer, "\u{1f600}\0\"").of_subject("bob"),
        ] {
            let subject = cutoff.subject_name().map(Into::into);
            let entry = Entry::new(Name::of(&cutoff), subject, T, T, None, Id(7));
            let text = serde_json::to_vec(&entry).unwrap();
            let read: Entry = serde_json::from_slice(&text).unwrap();
            assert_eq!(read, entry);
            let back = read.to_cutoff().unwrap();
            assert_eq!(
                (back.issuer_name(), back.kind(), back.value(), back.subject_name(), back.time()),
                (issuer, cutoff.kind(), cutoff.value(), cutoff.subject_name(), Some(T))
            );
        }
    }

    #[test]
    fn entry_of_a_later_version_is_read_unless_its_kind_is_unknown() {
        let text = |kind: &str| {
            format!(r#"{{"i":"as","k":"{kind}","v":"a","a":1,"t":2,"x":"{}","new":[1]}}"#, Id(7))
        };
        let read = |kind| serde_json::from_str::<Entry>(&text(kind)).unwrap().to_cutoff();
        assert!(read("subject").is_some());
        assert!(read("device").is_none());
        assert!(read("issuer").is_none(), "an issuer has no value");
    }

    #[test]
    fn entry_ends_when_all_tokens_that_it_covers_have_expired() {
        let name = Name::of(&Cutoff::subject("as", "alice"));
        let (hour, told) = (Duration::from_secs(3600), T.saturating_add(Duration::from_secs(60)));
        let of = |lifetime| Entry::new(name.clone(), None, T, told, lifetime, Id(7));
        let end = told.saturating_add(hour + Duration::from_secs(600));
        let before = end.saturating_sub(Duration::from_millis(1));
        let minute = Some(Duration::from_secs(60));
        for (told, here) in [(Some(hour), Some(hour)), (minute, Some(hour)), (Some(hour), minute)] {
            assert!(of(told).has_ended(here, end), "the longer one of both counts");
            assert!(!of(told).has_ended(here, before));
        }
        let late = end.saturating_add(hour * 1000);
        assert!(!of(None).has_ended(Some(hour), late) && !of(Some(hour)).has_ended(None, late));
    }
}
