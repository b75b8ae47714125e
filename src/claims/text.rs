//! The JSON object that claims are read from.

use std::{fmt, ops::Range, sync::Arc};

use serde_json::value::RawValue;

use super::{json::Object, parsed::Parsed};

/// A JSON object, where its members stand, and what it was parsed to.
///
/// Shared by all clones of the claims. What is parsed can't get to other claims: it belongs to the
/// text, and the text never changes.
#[derive(Clone)]
pub(super) struct Text(Arc<Inner>);

struct Inner {
    text: Box<str>,
    members: Box<[Member]>,
    parsed: Parsed,
}

/// Where one member stands in the text.
struct Member {
    name: Box<str>,
    value: Range<usize>,
}

impl Text {
    /// `object` must have been read from `text`.
    pub(super) fn new(text: &str, object: &Object<'_>) -> Self {
        let members = object
            .iter()
            .map(|(name, value)| Member { name: name.as_ref().into(), value: range(text, value) })
            .collect();
        Self::of(text.into(), members)
    }

    fn of(text: Box<str>, members: Box<[Member]>) -> Self {
        Self(Arc::new(Inner { text, members, parsed: Parsed::default() }))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0.text
    }

    pub(super) fn parsed(&self) -> &Parsed {
        &self.0.parsed
    }

    /// The value of a member, as it is written.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        let member = self.0.members.iter().find(|member| &*member.name == name)?;
        self.value(member)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.members.iter().map(|member| &*member.name)
    }

    /// This object with other values for these members, each of them JSON.
    pub(super) fn with(&self, changes: &[(&str, String)]) -> Self {
        if changes.is_empty() {
            return self.clone();
        }
        let changed = |name: &str| changes.iter().find(|change| change.0 == name);
        let kept = self.0.members.iter().filter(|member| changed(&member.name).is_none());
        let kept = kept.filter_map(|member| Some((&*member.name, self.value(member)?)));
        let changes = changes.iter().map(|(name, value)| (*name, value.as_str()));
        let (mut text, mut members) = (String::from("{"), Vec::new());
        for (name, value) in kept.chain(changes) {
            if !members.is_empty() {
                text.push(',');
            }
            text.push_str(&serde_json::Value::from(name).to_string());
            text.push(':');
            let start = text.len();
            text.push_str(value);
            members.push(Member { name: name.into(), value: start..text.len() });
        }
        text.push('}');
        Self::of(text.into(), members.into())
    }

    /// How much memory it takes, without what it was parsed to.
    pub(super) fn bytes(&self) -> usize {
        let names = self.0.members.iter().map(|member| member.name.len() + size_of::<Member>());
        size_of::<Inner>() + self.0.text.len() + names.sum::<usize>()
    }

    fn value(&self, member: &Member) -> Option<&str> {
        self.0.text.get(member.value.clone())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}

/// The place of `value`, which is a part of `text`.
fn range(text: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Text {
        Text::new(json, &Object::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn changed_members_take_the_place_of_what_was_written() {
        let before = text(r#"{"a\"b": [ 1 ], "scope":"read write", "n": 18446744073709551616}"#);
        let after = before.with(&[("scope", "\"read\"".into()), ("exp", "7".into())]);
        assert_eq!(
            after.as_str(),
            r#"{"a\"b":[ 1 ],"n":18446744073709551616,"scope":"read","exp":7}"#
        );
        assert_eq!(after.raw("a\"b"), Some("[ 1 ]"));
        assert_eq!(after.raw("scope"), Some("\"read\""));
        assert_eq!(after.raw("exp"), Some("7"));
        assert_eq!(before.raw("scope"), Some("\"read write\""));
        assert!(Object::parse(after.as_str().as_bytes()).is_ok());
    }

    #[test]
    fn what_was_parsed_stays_with_its_text() {
        let before = text(r#"{"n":1}"#);
        assert_eq!(before.parsed().get(|| Some(1_u8)).as_deref(), Some(&1));
        assert_eq!(before.clone().parsed().get(|| Some(9_u8)).as_deref(), Some(&1), "the same");
        assert_eq!(before.with(&[]).parsed().get(|| Some(9_u8)).as_deref(), Some(&1), "unchanged");
        let after = before.with(&[("n", "2".into())]);
        assert_eq!(after.parsed().get(|| Some(2_u8)).as_deref(), Some(&2), "another text");
    }
}
