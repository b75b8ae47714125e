//! Encoding of claims into header values.

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The ASCII characters to encode. A comma would turn the value into a list (RFC 9110 §5.6.1).
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');
const ESCAPED_IN_SCOPE: &AsciiSet = &ESCAPED.remove(b' ');

/// The error for a claim that can't be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsendable;

/// The number of bytes that are left for values.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    pub(super) const fn new(limit: usize) -> Self {
        Self(limit)
    }

    /// Encodes `text` so that percent-decoding gives it back exactly. Returns `None` if it is
    /// empty.
    pub(super) fn text(&mut self, text: &str) -> Result<Option<HeaderValue>, Unsendable> {
        self.encode(text, ESCAPED)
    }

    /// Encodes `text` like [`text`](Self::text), but keeps its spaces.
    pub(super) fn scope(&mut self, text: &str) -> Result<Option<HeaderValue>, Unsendable> {
        self.encode(text, ESCAPED_IN_SCOPE)
    }

    fn encode(
        &mut self,
        text: &str,
        escaped: &'static AsciiSet,
    ) -> Result<Option<HeaderValue>, Unsendable> {
        if text.is_empty() {
            return Ok(None);
        }
        // Encoding never shortens a text, so one that is too long is refused without encoding it.
        if text.len() > self.0 {
            return Err(Unsendable);
        }
        let mut encoded = String::with_capacity(text.len());
        encoded.extend(utf8_percent_encode(text, escaped));
        self.0 = self.0.checked_sub(encoded.len()).ok_or(Unsendable)?;
        let mut value = HeaderValue::try_from(encoded).map_err(|_| Unsendable)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> Option<HeaderValue> {
        Budget::new(1000).text(text).unwrap()
    }

    #[test]
    fn bytes_other_than_visible_ascii_are_percent_encoded() {
        for (text, value) in [
            ("alice", "alice"),
            ("https://as.example.com/a?b=c#d", "https://as.example.com/a?b=c#d"),
            ("a b%20,c", "a%20b%2520%2Cc"),
            ("x\r\nx-auth-scope: admin", "x%0D%0Ax-auth-scope:%20admin"),
            ("\0\t\u{7f}", "%00%09%7F"),
            ("é\u{1f600}", "%C3%A9%F0%9F%98%80"),
            ("\"\\", "\"\\"),
        ] {
            assert_eq!(encoded(text).unwrap(), value, "{text:?}");
        }
        assert_eq!(encoded(""), None);
        assert_eq!(Budget::new(9).scope("a b,c").unwrap().unwrap(), "a b%2Cc");
        assert!(encoded("alice").unwrap().is_sensitive());
    }

    #[test]
    fn different_texts_have_different_values() {
        let texts = ["a b", "a%20b", "a%2520b", "a,b", "a%2Cb", "é", "%C3%A9"];
        let values: std::collections::HashSet<_> = texts.map(encoded).into_iter().collect();
        assert_eq!(values.len(), texts.len());
    }

    #[test]
    fn budget_covers_all_values_and_counts_encoded_bytes() {
        let mut budget = Budget::new(10);
        assert!(budget.text("1234").is_ok());
        assert_eq!(budget.text("1234567"), Err(Unsendable));
        assert!(budget.text("ééé").is_err());
        assert!(budget.text("é").is_ok());
        assert_eq!(budget.text("1"), Err(Unsendable));
        assert_eq!(Budget::new(4096).text(&"x".repeat(64 * 1024)), Err(Unsendable));
    }
}
