//! Reads the text of a token from each place in a request where one may be.

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL},
};

use super::{
    grammar::is_http_token,
    token::{Origin, Scheme},
    unchecked_token::{UncheckedToken, check_length},
    websocket::ProtocolForm,
};
use crate::{error::kind::ErrorKind, percent};

/// Takes the text after the scheme from `Authorization`.
///
/// The header holds one set of credentials and is no list (RFC 9110 §11.6.2): `get` alone would let
/// the first of two fields win.
#[inline]
pub(super) fn in_header(
    headers: &HeaderMap,
    limit: usize,
) -> Result<UncheckedToken<'_>, ErrorKind> {
    let value = the_only(headers.get_all(AUTHORIZATION).into_iter())?;
    let text = value.as_bytes().trim_ascii_end();
    let trimmed = text.trim_ascii_start();
    let name = trimmed.split(|&byte| byte == b' ').next().unwrap_or_default();
    let scheme = match Scheme::named(name) {
        Some(scheme) => scheme,
        None if is_http_token(name) => return Err(ErrorKind::UnsupportedScheme),
        None => return Err(ErrorKind::MalformedCredentials),
    };
    let rest = trimmed.get(name.len()..).unwrap_or_default();
    let gap = rest.iter().take_while(|&&byte| byte == b' ').count();
    let token = rest.get(gap..).unwrap_or_default();
    check_length(token.len(), limit)?;
    let range = text.len() - token.len()..text.len();
    Ok(UncheckedToken::InHeader { value, range, scheme, origin: Origin::Header })
}

/// Takes the whole value of a header that holds a token and nothing else.
///
/// A field without a value holds no token.
pub(super) fn in_other_header<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    limit: usize,
) -> Result<UncheckedToken<'a>, ErrorKind> {
    let value = the_only(headers.get_all(name).into_iter())?;
    let text = value.as_bytes().trim_ascii_end();
    let token = text.trim_ascii_start();
    if token.is_empty() {
        return Err(ErrorKind::MissingCredentials);
    }
    check_length(token.len(), limit)?;
    let (range, scheme) = (text.len() - token.len()..text.len(), Scheme::Bearer);
    Ok(UncheckedToken::InHeader { value, range, scheme, origin: Origin::OtherHeader })
}

/// Returns true if there is one `Authorization` field, and it has no value.
pub(super) fn is_header_empty(headers: &HeaderMap) -> bool {
    let only = the_only(headers.get_all(AUTHORIZATION).into_iter());
    only.is_ok_and(|value| value.as_bytes().trim_ascii().is_empty())
}

pub(super) fn in_query(
    uri: &Uri,
    name: &str,
    limit: usize,
) -> Result<UncheckedToken<'static>, ErrorKind> {
    let query = uri.query().unwrap_or_default();
    let values = query.split('&').filter_map(|pair| value_of_parameter(pair, name));
    let value = the_only(values)?;
    // Decoding never makes it longer, so this refuses a long value before allocating.
    if value.len() > limit.saturating_mul(3) {
        check_length(value.len(), limit)?;
    }
    // A `+` is kept: a token may hold one, and no token holds a space.
    let token = percent::decode(value).ok_or(ErrorKind::MalformedCredentials)?;
    copied(&token, Origin::Query, limit)
}

pub(super) fn in_cookie(
    headers: &HeaderMap,
    name: &str,
    limit: usize,
) -> Result<UncheckedToken<'static>, ErrorKind> {
    let values = items(headers, &COOKIE, b';').filter_map(|pair| value_of_cookie(pair, name));
    copied(unquoted(the_only(values)?), Origin::Cookie, limit)
}

pub(super) fn in_websocket_protocol(
    headers: &HeaderMap,
    form: &ProtocolForm,
    limit: usize,
) -> Result<UncheckedToken<'static>, ErrorKind> {
    let (_, text) = the_only(form.find(protocols(headers)).into_iter())?;
    copied(&form.decode(text, limit)?, Origin::WebSocketProtocol, limit)
}

/// Returns the value of a pair of a query, if this is the name of the parameter.
pub(super) fn value_of_parameter<'a>(pair: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    (percent::decode(key).as_deref() == Some(name.as_bytes())).then_some(value)
}

/// Returns the value of a cookie-pair, if this is the name of the cookie.
pub(super) fn value_of_cookie<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = pair.iter().position(|&byte| byte == b'=')?;
    (pair[..at].trim_ascii() == name.as_bytes()).then(|| pair[at + 1..].trim_ascii())
}

/// Returns the value of a cookie without the quotes that may enclose it (RFC 6265 §4.1.1).
fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

/// Returns the entries of all fields `Sec-WebSocket-Protocol`.
pub(super) fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    items(headers, &SEC_WEBSOCKET_PROTOCOL, b',')
}

/// Returns the items of all fields of this name.
fn items<'a>(
    headers: &'a HeaderMap,
    field: &HeaderName,
    separator: u8,
) -> impl Iterator<Item = &'a [u8]> {
    let fields = headers.get_all(field).into_iter();
    fields.flat_map(move |value| value.as_bytes().split(move |&byte| byte == separator))
}

fn copied(
    token: &[u8],
    origin: Origin,
    limit: usize,
) -> Result<UncheckedToken<'static>, ErrorKind> {
    check_length(token.len(), limit)?;
    let value = HeaderValue::from_bytes(token).map_err(|_| ErrorKind::MalformedCredentials)?;
    Ok(UncheckedToken::Elsewhere { value, origin })
}

/// Returns the only item.
///
/// # Errors
///
/// [`MissingCredentials`](ErrorKind::MissingCredentials) if there is none,
/// [`RepeatedCredentials`](ErrorKind::RepeatedCredentials) if there are several.
fn the_only<T>(mut items: impl Iterator<Item = T>) -> Result<T, ErrorKind> {
    let first = items.next().ok_or(ErrorKind::MissingCredentials)?;
    if items.next().is_some() { Err(ErrorKind::RepeatedCredentials) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6265_4_1_1_quotes_around_the_value_of_a_cookie_are_no_part_of_it() {
        let from_cookies = |cookies: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, cookies.parse().unwrap());
            let found = in_cookie(&headers, "at", 4)?;
            found.into_token().map_err(|error| error.kind())
        };
        let from_value = |value: &str| {
            let token = from_cookies(&format!("a=1; at={value}; b=2"))?;
            Ok::<_, ErrorKind>(token.secret_str().to_owned())
        };
        for value in ["abc", "\"abc\"", " \"abc\" "] {
            assert_eq!(from_value(value).as_deref(), Ok("abc"), "{value}");
        }
        for value in ["\"\"", "\"", "\"ab", "ab\"", "\"a\"b", "\" a\"", "'a'"] {
            assert_eq!(from_value(value), Err(ErrorKind::MalformedCredentials), "{value}");
        }
        assert_eq!(from_value("\"abcd\"").as_deref(), Ok("abcd"));
        assert_eq!(from_value("\"abcde\""), Err(ErrorKind::TokenTooLong));
        let twice = from_cookies("at=abc; at=\"abc\"").map(drop);
        assert_eq!(twice, Err(ErrorKind::RepeatedCredentials));
    }
}
