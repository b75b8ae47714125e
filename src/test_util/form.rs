//! Strict parsing of `application/x-www-form-urlencoded` (RFC 6749 appendix B).

use crate::percent;

/// The parameters of one request, in their order.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a body. Returns `None` if it is not exactly in that format.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            Some((decode(name)?, decode(value)?))
        };
        text.split('&').map(pair).collect::<Option<_>>().map(Self)
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

/// Decodes one name or value. Returns `None` if a byte is not encoded that must be.
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
        for body in ["token", "=a&token=a b", "a=b&", "&a=b", "{\"token\":1}"] {
            assert!(Form::parse(body.as_bytes()).is_none(), "{body:?}");
        }
    }

    #[test]
    fn rfc6749_3_2_parameters_must_not_repeat() {
        let form = Form::parse(b"a=1&resource=x&resource=y&b=2").unwrap();
        assert!(form.repeats(&[]));
        assert!(!form.repeats(&["resource"]));
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["x", "y"]);
    }
}
