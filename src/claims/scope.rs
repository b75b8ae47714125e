//! Scope (RFC 6749 §3.3).

use std::fmt;

/// A set of scope values, in the order they were given.
///
/// Values are compared exactly and case-sensitively; text that is no scope-token of RFC 6749
/// §3.3 grants nothing.
///
/// ```
/// use tower_introspect::claims::Scope;
///
/// let scope = Scope::parse("read:payments openid");
/// assert!(scope.contains("openid"));
/// assert!(!scope.contains("read"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(Box<str>);

impl Scope {
    /// The scope values of a space-delimited string.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if !text.is_empty() && text.split(' ').all(is_scope_token) {
            return Self(text.into());
        }
        Self::from_values(text.split(' '))
    }

    /// The scope values of a list. What is no scope-token is left out.
    #[must_use]
    pub fn from_values<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = String::new();
        for value in values.into_iter().filter(|value| is_scope_token(value)) {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(value);
        }
        Self(text.into())
    }

    /// True if `value` is among the values.
    #[must_use]
    pub fn contains(&self, value: &str) -> bool {
        self.iter().any(|have| have == value)
    }

    /// The values.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|value| !value.is_empty())
    }

    /// True if there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values, space-delimited.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )` (RFC 6749 §3.3).
pub(crate) fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6749_3_3_values_are_exact() {
        for text in ["reader", "READ", "read,write", "x\tread", "read\u{a0}x", ""] {
            assert!(!Scope::parse(text).contains("read"), "{text:?}");
        }
        for text in ["read", "a read", "read a", "a  read", " read "] {
            assert!(Scope::parse(text).contains("read"), "{text:?}");
        }
        assert!(!Scope::parse("a  b").contains(""));
    }

    #[test]
    fn rfc6749_3_3_what_is_no_scope_token_grants_nothing() {
        let scope = Scope::from_values(["ok", "a b", "quo\"te", "back\\slash", "", "é"]);
        assert_eq!(scope.as_str(), "ok");
    }
}
