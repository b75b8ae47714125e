//! The scope of a token (RFC 6749 §3.3).

use std::{borrow::Cow, fmt};

use serde_json::value::RawValue;

use super::{
    json::{self, Object},
    text::{json_text::Text, span::Span, text_view::TextView},
};

/// The claim that holds the scope of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScopeClaim<'a> {
    /// `scope`, or `scp` if that is absent: text, or an array of texts.
    Usual,
    /// `scope`, which must be text (RFC 9068 §2.2.3).
    Text,
    /// A claim that a setting names: text, or an array of texts. None of them is split, because the
    /// names of permissions may contain a space.
    Named(&'a str),
}

pub(super) const SCOPE: &str = "scope";
pub(super) const SCP: &str = "scp";

impl<'a> ScopeClaim<'a> {
    /// Returns the name of the claim, and its scope-tokens separated by single spaces. A claim of
    /// another type has none.
    pub(super) fn read<'o>(self, object: &Object<'o>) -> (&'a str, Option<Cow<'o, str>>) {
        let usual = |name| object.get(name).map(|value| split(value).unwrap_or_default());
        match self {
            Self::Usual => match usual(SCOPE) {
                None => match usual(SCP) {
                    None => (SCOPE, None),
                    scope => (SCP, scope),
                },
                scope => (SCOPE, scope),
            },
            Self::Text => {
                let text = |value| json::string(value).map(cleaned).unwrap_or_default();
                (SCOPE, object.get(SCOPE).map(text))
            }
            Self::Named(name @ (SCOPE | SCP)) => (name, usual(name)),
            Self::Named(name) => {
                (name, object.get(name).map(|value| whole(value).unwrap_or_default()))
            }
        }
    }
}

/// Returns the scope-tokens of a text or of an array of texts.
///
/// The text is split, and so is the element of an array of one, as some servers wrap the text. In
/// other arrays an element with a space is no scope-token: to split it could only grant more.
fn split(value: &RawValue) -> Option<Cow<'_, str>> {
    if let Some(text) = json::string(value) {
        return Some(cleaned(text));
    }
    let mut texts = json::strings(value)?;
    match texts.len() {
        1 => texts.pop().map(cleaned),
        _ => Some(Cow::Owned(joined(texts.iter().map(|text| &**text)))),
    }
}

/// Does the same without splitting anything.
fn whole(value: &RawValue) -> Option<Cow<'_, str>> {
    if let Some(text) = json::string(value) {
        return Some(if is_scope_token(&text) { text } else { Cow::Borrowed("") });
    }
    let texts = json::strings(value)?;
    Some(Cow::Owned(joined(texts.iter().map(|text| &**text))))
}

/// Returns the scope-tokens of a space-delimited text, separated by single spaces.
fn cleaned(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.is_empty() || text.split(' ').all(is_scope_token) {
        return text;
    }
    Cow::Owned(joined(text.split(' ')))
}

/// A set of scope values, in the order they were given.
///
/// Values are compared exactly and case-sensitively. Text that is not a scope-token (RFC 6749 §3.3)
/// grants nothing.
///
/// ```
/// use tower_introspect::claims::Scope;
///
/// let scope = Scope::parse("read:payments openid");
/// assert!(scope.contains("openid"));
/// assert!(!scope.contains("read"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(TextView);

impl Scope {
    /// Creates a scope from a space-delimited string. Leaves out text that is not a scope-token.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(TextView::new(&cleaned(Cow::Borrowed(text))))
    }

    /// Creates a scope from a list of values. Leaves out values that are not scope-tokens.
    #[must_use]
    pub fn from_values<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self(TextView::new(&joined(values)))
    }

    /// Creates a scope from the text at `span`: scope-tokens, separated by single spaces.
    pub(super) const fn at(span: Span) -> Self {
        Self(TextView::at(span))
    }

    /// Sets the text that the values are a part of.
    pub(super) fn set_text(&mut self, text: &Text) {
        self.0.set_text(text);
    }

    /// Returns true if `value` is among the values.
    #[must_use]
    pub fn contains(&self, value: &str) -> bool {
        self.iter().any(|have| have == value)
    }

    /// Returns an iterator over the values.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.as_str().split(' ').filter(|value| !value.is_empty())
    }

    /// Returns true if there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }

    /// Returns the values, space-delimited.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the values as JSON: an array of strings, or one space-delimited string.
    pub(super) fn to_json(&self, in_array: bool) -> String {
        // A scope-token has no character that JSON would escape.
        if in_array && !self.is_empty() {
            format!("[\"{}\"]", self.as_str().replace(' ', "\",\""))
        } else if in_array {
            "[]".to_owned()
        } else {
            format!("\"{}\"", self.as_str())
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn joined<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for value in values.into_iter().filter(|value| is_scope_token(value)) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(value);
    }
    text
}

/// Returns true if `text` is a `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )` (RFC 6749 §3.3).
pub(crate) const fn is_scope_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    // A loop by hand, because scopes in the source code are checked at compile time.
    while at < bytes.len() {
        if !matches!(bytes[at], 0x21 | 0x23..=0x5b | 0x5d..=0x7e) {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

/// Checks scope values at compile time, and returns them as an array of strings.
///
/// [`RequireScope`](crate::RequireScope) and [`Requirement`](crate::policy::Requirement) take such
/// arrays.
///
/// ```
/// use tower_introspect::{RequireScope, scopes};
///
/// let layer = RequireScope::all(scopes!["read:payments", "read:accounts"]);
/// # let _ = layer;
/// ```
///
/// A value that is not a scope-token (RFC 6749 §3.3) does not compile, nor does an empty list:
///
/// ```compile_fail
/// let scopes = tower_introspect::scopes!["read payments"];
/// ```
///
/// ```compile_fail
/// let scopes = tower_introspect::scopes![];
/// ```
#[macro_export]
macro_rules! scopes {
    ($($scope:expr),+ $(,)?) => {
        const {
            let scopes = [$($scope),+];
            $crate::claims::assert_scopes(&scopes);
            scopes
        }
    };
}

/// Panics if a value of `scopes` is not a scope-token, or if there is no value.
#[doc(hidden)]
pub const fn assert_scopes(scopes: &[&str]) {
    assert!(!scopes.is_empty(), "the list of scopes is empty");
    let mut at = 0;
    while at < scopes.len() {
        assert!(is_scope_token(scopes[at]), "not a scope-token (RFC 6749 section 3.3)");
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6749_3_3_scope_values_are_compared_exactly() {
        for text in ["reader", "READ", "read,write", "x\tread", "read\u{a0}x", ""] {
            assert!(!Scope::parse(text).contains("read"), "{text:?}");
        }
        for text in ["read", "a read", "read a", "a  read", " read "] {
            assert!(Scope::parse(text).contains("read"), "{text:?}");
        }
        assert!(!Scope::parse("a  b").contains(""));
    }

    #[test]
    fn rfc6749_3_3_invalid_scope_token_is_dropped() {
        let scope = Scope::from_values(["ok", "a b", "quo\"te", "back\\slash", "", "é"]);
        assert_eq!(scope.as_str(), "ok");
    }
}
