//! The text of a JSON object, with an index of its members.

use std::{borrow::Cow, fmt, sync::Arc};

use super::{
    index::{Index, Members},
    span::Span,
};
use crate::claims::{
    json::{self, Object},
    kind,
    parsed::ParsedValues,
};

/// A JSON object with an index of its members and the values that it was parsed to.
///
/// All clones of the claims share it, and so do the views of its parts. A parsed value can't get to
/// other claims: it belongs to the text, and the text never changes.
///
/// The cache may hold a million of these. So one buffer holds all of the text: the object as it was
/// received, an [`Index`] of it, and the decoded strings that it does not spell out.
#[derive(Clone)]
pub(crate) struct Text(Arc<TextBuffer>);

struct TextBuffer {
    buffer: Box<str>,
    parsed: ParsedValues,
    /// The end of the object and the start of the index.
    end: u32,
    marks: u8,
}

/// A property that each request needs and that is therefore determined only once per text.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Mark {
    /// The object has an `exp`.
    ExpiresAt = 1,
    /// The object has an `nbf`.
    NotBefore = 2,
    /// The object has an `iat`.
    IssuedAt = 4,
    /// The object says that the token is a refresh token.
    Refresh = 8,
    /// The object says that the token is bound by DPoP.
    Dpop = 16,
}

impl Text {
    /// Creates a text that is not an object.
    pub(super) fn plain(text: &str) -> Self {
        let (buffer, parsed) = (text.into(), ParsedValues::default());
        Self(Arc::new(TextBuffer { buffer, parsed, end: 0, marks: 0 }))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.buffer.get(..self.end()).unwrap_or_default()
    }

    /// Returns true if both are the same object, character by character.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
    }

    pub(crate) fn parsed(&self) -> &ParsedValues {
        &self.0.parsed
    }

    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.0.marks & mark as u8 != 0
    }

    /// Returns the value of a member as JSON text.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.members().find(|member| member.0 == name).map(|(_, value)| value)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members().map(|(name, _)| name)
    }

    /// Returns a copy of this object with other values for these members, each of them JSON text.
    pub(crate) fn with(&self, changes: &[(&str, String)]) -> Self {
        let changed = |name: &str| changes.iter().any(|change| change.0 == name);
        let kept = self.members().filter(|(name, _)| !changed(name));
        // If `changes` has a member twice, the last value counts.
        let again = |at: usize, name| changes.iter().skip(at + 1).any(|later| later.0 == name);
        let changes = changes.iter().enumerate().filter(|(at, change)| !again(*at, change.0));
        let changes = changes.map(|(_, (name, value))| (*name, value.as_str()));
        let mut json = String::from("{");
        let mut members = Vec::new();
        for (name, value) in kept.chain(changes) {
            if json.len() > 1 {
                json.push(',');
            }
            let written = serde_json::Value::from(name).to_string();
            json.push_str(&written);
            json.push(':');
            members.push((json.len(), name, value, written.contains('\\')));
            json.push_str(value);
        }
        json.push('}');
        Draft::of(&json, members.into_iter()).finish()
    }

    /// Returns a text that contains `part`, and the span of it. It is the same text if that contains
    /// `part`.
    pub(crate) fn with_part(&self, part: &str) -> (Self, Span) {
        let buffer = &*self.0.buffer;
        if let Some(start) = buffer.find(part) {
            return (self.clone(), Span::new(start, part.len()));
        }
        let span = Span::new(buffer.len(), part.len());
        let TextBuffer { end, marks, .. } = *self.0;
        let buffer = [buffer, part].concat().into();
        (Self(Arc::new(TextBuffer { buffer, parsed: ParsedValues::default(), end, marks })), span)
    }

    pub(crate) fn get(&self, span: Span) -> Option<&str> {
        self.0.buffer.get(span.range())
    }

    /// Returns the size in bytes, without the parsed values.
    pub(crate) fn bytes(&self) -> usize {
        // Includes the counters of the `Arc`.
        2 * size_of::<usize>() + size_of::<TextBuffer>() + self.0.buffer.len()
    }

    fn end(&self) -> usize {
        usize::try_from(self.0.end).unwrap_or(usize::MAX)
    }

    /// Returns the members: names, and values as JSON text.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        Members::new(&self.0.buffer, self.end())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}

/// A text under construction.
pub(crate) struct Draft<'a> {
    json: &'a str,
    buffer: String,
    marks: u8,
}

impl<'a> Draft<'a> {
    /// Creates a draft. `object` must have been read from `json`.
    pub(crate) fn new(json: &'a str, object: &Object<'_>) -> Self {
        let members = object.iter().map(|(name, value)| {
            let (value, escaped) = (value.get(), matches!(name, Cow::Owned(_)));
            (offset_in(json, value).unwrap_or_default(), &**name, value, escaped)
        });
        Self::of(json, members)
    }

    /// Creates a draft from members: the start of the value, the name, the value, and true if the
    /// object writes the name with escapes.
    fn of<'m>(
        json: &'a str,
        members: impl ExactSizeIterator<Item = (usize, &'m str, &'m str, bool)>,
    ) -> Self {
        let (mut index, mut marks) = (Index::after(json, members.len()), 0);
        for (start, name, value, escaped) in members {
            index.push(start, value.len(), escaped.then_some(name));
            marks |= mark_bit(name, value);
        }
        Self { json, buffer: index.finish(), marks }
    }

    /// Returns the span of `part`, which is in the object if it was read there, or else appended.
    pub(crate) fn span_of(&mut self, part: &str) -> Span {
        let start = offset_in(self.json, part).unwrap_or_else(|| {
            self.buffer.push_str(part);
            self.buffer.len() - part.len()
        });
        Span::new(start, part.len())
    }

    pub(crate) fn finish(self) -> Text {
        let end = self.json.len();
        // A copy has exactly the needed length. Shrinking the buffer instead would leave holes in
        // memory.
        let (buffer, parsed) = (self.buffer.as_str().into(), ParsedValues::default());
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        Text(Arc::new(TextBuffer { buffer, parsed, end, marks: self.marks }))
    }
}

/// Returns the bit of the mark that a member sets, or zero.
fn mark_bit(name: &str, value: &str) -> u8 {
    let mark = match name {
        "exp" => Mark::ExpiresAt,
        "nbf" => Mark::NotBefore,
        "iat" => Mark::IssuedAt,
        "token_type" | "token_use" if kind::is_refresh(value) => Mark::Refresh,
        "token_type" if is_dpop(value) => Mark::Dpop,
        _ => return 0,
    };
    mark as u8
}

fn is_dpop(token_type: &str) -> bool {
    json::decode_string(token_type).is_some_and(|word| word.eq_ignore_ascii_case("DPoP"))
}

/// Returns the start of `part` if it is a slice of `text`.
fn offset_in(text: &str, part: &str) -> Option<usize> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    (start + part.len() <= text.len()).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Text {
        Draft::new(json, &Object::parse(json.as_bytes()).unwrap()).finish()
    }

    #[test]
    fn changed_members_replace_the_old_ones() {
        let before = text(r#"{"a\"b": [ 1 ], "scope":"read write", "n": 18446744073709551616}"#);
        let after = before.with(&[("scope", "\"read\"".into()), ("exp", "7".into())]);
        assert_eq!(
            after.as_str(),
            r#"{"a\"b":[ 1 ],"n":18446744073709551616,"scope":"read","exp":7}"#
        );
        assert!(after.has(Mark::ExpiresAt) && !before.has(Mark::ExpiresAt));
        assert_eq!(after.raw("a\"b"), Some("[ 1 ]"));
        assert_eq!(after.raw("scope"), Some("\"read\""));
        assert_eq!(after.raw("exp"), Some("7"));
        assert_eq!(before.raw("scope"), Some("\"read write\""));
        assert!(Object::parse(after.as_str().as_bytes()).is_ok());
    }

    #[test]
    fn parsed_values_belong_to_one_json_text() {
        let before = text(r#"{"n":1}"#);
        assert_eq!(before.parsed().get(|| Some(1_u8)).as_deref(), Some(&1));
        assert_eq!(before.clone().parsed().get(|| Some(9_u8)).as_deref(), Some(&1), "the same");
        let after = before.with(&[("n", "2".into())]);
        assert_eq!(after.parsed().get(|| Some(2_u8)).as_deref(), Some(&2), "another text");
    }

    #[test]
    fn texts_stored_beside_the_object_do_not_change_it() {
        let json = r#"{"a":"x","\u00e9":[1]}"#;
        let mut draft = Draft::new(json, &Object::parse(json.as_bytes()).unwrap());
        let spans = [draft.span_of("läßt"), draft.span_of(&json[6..7])];
        let text = draft.finish();
        assert_eq!(spans.map(|span| text.get(span)), [Some("läßt"), Some("x")]);
        let (same, inside) = text.with_part("läß");
        assert!(Arc::ptr_eq(&same.0, &text.0));
        assert_eq!(same.get(inside), Some("läß"));
        let (other, new) = text.with_part("new");
        assert_eq!((other.get(new), other.get(spans[0])), (Some("new"), Some("läßt")));
        for text in [&text, &other] {
            assert_eq!(text.as_str(), json);
            assert_eq!(text.names().collect::<Vec<_>>(), ["a", "é"]);
            assert_eq!((text.raw("a"), text.raw("é")), (Some("\"x\""), Some("[1]")));
        }
        assert_eq!(text.get(new), None);
        assert_eq!(text.get(Span::NONE), None);
    }

    #[test]
    fn marks_follow_the_claims_of_the_json_text() {
        use Mark::{Dpop, ExpiresAt, IssuedAt, NotBefore, Refresh};
        for (json, said) in [
            ("{}", vec![]),
            (r#"{"exp":0}"#, vec![ExpiresAt]),
            (r#"{"nbf":0,"iat":0}"#, vec![NotBefore, IssuedAt]),
            (r#"{"token_type":"Refresh_Token"}"#, vec![Refresh]),
            (r#"{"token_use":"\u0072efresh"}"#, vec![Refresh]),
            (r#"{"token_type":"dpop","token_use":"REFRESH"}"#, vec![Refresh, Dpop]),
            (r#"{"token_use":"DPoP","token_type":"access"}"#, vec![]),
            (r#"{"token_type":["refresh"],"token_use":null}"#, vec![]),
        ] {
            let text = text(json);
            for mark in [ExpiresAt, NotBefore, IssuedAt, Refresh, Dpop] {
                let expected = said.iter().any(|said| *said as u8 == mark as u8);
                assert_eq!(text.has(mark), expected, "{json} {mark:?}");
            }
        }
    }
}
