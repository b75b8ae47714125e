//! Parsing of `application/x-www-form-urlencoded`.

use crate::percent;

/// The parameters of one request, in their order.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a body as the URL Standard does, which is what real servers do: every body is a form.
    ///
    /// A parameter without a value is left out (RFC 6749 §3.2).
    pub(super) fn parse(body: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(body).into_owned();
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// Returns the first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Returns the values of a parameter that may be repeated.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(have, _)| have == name).map(|(_, value)| &**value)
    }

    /// Returns true if a parameter is repeated that must not be (RFC 6749 §3.2).
    pub(super) fn repeats(&self, may_repeat: &[&str]) -> bool {
        let once = |name: &str| may_repeat.contains(&name) || self.all(name).count() == 1;
        !self.0.iter().all(|(name, _)| once(name))
    }
}

/// Decodes a half of Basic credentials (RFC 6749 §2.3.1). Returns `None` if a byte is not encoded
/// that must be (RFC 6749 appendix B).
///
/// This is stricter than [`Form::parse`], because only some servers forgive a client that does not
/// encode its credentials.
pub(super) fn decode(text: &str) -> Option<String> {
    // The format encodes `~`, but RFC 3986 does not, and clients usually leave it as it is.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+%*-._~".contains(&byte);
    let spaced = text.bytes().all(plain).then(|| text.replace('+', " "))?;
    String::from_utf8(percent::decode(&spaced)?.into_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6749_appendix_b_decodes_the_example() {
        assert_eq!(decode("+%25%26%2B%C2%A3%E2%82%AC").as_deref(), Some(" %&+£€"));
    }

    #[test]
    fn unencoded_text_is_refused() {
        for text in ["a b", "a=b", "a/b", "a:b", "%", "%2", "%zz", "%ff", "é", "a\"b"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn bodies_are_parsed_as_the_url_standard_does() {
        for (body, value) in [
            ("a=http://127.0.0.1:9500/mcp", "http://127.0.0.1:9500/mcp"),
            ("a=b c", "b c"),
            ("a=b+c", "b c"),
            ("a=b=c", "b=c"),
            ("a=%3A%", ":%"),
            ("a=é", "é"),
            ("a=%ff", "\u{fffd}"),
            ("&b=1&&a=c&", "c"),
        ] {
            assert_eq!(Form::parse(body.as_bytes()).get("a"), Some(value), "{body:?}");
        }
    }

    #[test]
    fn rfc6749_3_2_parameters_without_a_value_are_omitted() {
        for body in ["", "a", "a=", "a=&a=", "{\"a\":1}"] {
            assert_eq!(Form::parse(body.as_bytes()).get("a"), None, "{body:?}");
        }
    }

    #[test]
    fn rfc6749_3_2_parameters_must_not_repeat() {
        let form = Form::parse(b"a=1&resource=x&resource=y&b=2");
        assert!(form.repeats(&[]));
        assert!(!form.repeats(&["resource"]));
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["x", "y"]);
    }
}
