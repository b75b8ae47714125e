//! Encodes forms as `application/x-www-form-urlencoded`, as in the URL standard.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// A form to which fields can be added. It may hold a token and a secret, so it has no `Debug`.
pub(crate) struct Form(String);

impl Form {
    /// Creates a form with one field.
    pub(crate) fn new(name: &str, value: &str) -> Self {
        let mut form = Self(String::with_capacity(name.len() + value.len() + 64));
        form.push(name, value);
        form
    }

    /// Adds a field.
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        encode(name, &mut self.0);
        self.0.push('=');
        encode(value, &mut self.0);
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// Appends `text`, escaping everything but letters, digits and `*-._`.
///
/// Some servers never decode the two parts of Basic credentials. With as few escapes as possible,
/// most client identifiers and secrets work with those servers too.
pub(super) fn encode(text: &str, into: &mut String) {
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 {
            into.push('+');
        }
        into.extend(utf8_percent_encode(word, ESCAPED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7662_2_1_token_is_percent_encoded() {
        let form = Form::new("token", "a+b/c==~.");
        assert_eq!(form.into_bytes(), "token=a%2Bb%2Fc%3D%3D%7E.");
    }

    #[test]
    fn names_and_values_are_percent_encoded() {
        let mut form = Form::new("token", "x");
        form.push("a&b", "c=d&token=y z\u{e9}");
        assert_eq!(form.into_bytes(), "token=x&a%26b=c%3Dd%26token%3Dy+z%C3%A9");
    }
}
