//! Percent-encoding (RFC 3986 §2.1), with the strict checks that the crate `percent-encoding` lacks.

use std::borrow::Cow;

/// Decodes `%XX`. Returns `None` if a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, [u8]>> {
    is_valid(text).then(|| percent_encoding::percent_decode_str(text).into())
}

/// Returns true if each `%` is followed by two hexadecimal digits.
pub(crate) fn is_valid(text: &str) -> bool {
    let octets = text.as_bytes().split(|byte| *byte == b'%').skip(1);
    octets.map(|rest| octet(rest.get(..2)?)).all(|octet| octet.is_some())
}

/// Returns the value of two hexadecimal digits.
pub(crate) fn octet(digits: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
