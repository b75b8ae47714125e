//! The responses to requests for the metadata document.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH,
        IF_NONE_MATCH,
    },
};

use super::document::Document;

const METHODS: &str = "GET, HEAD, OPTIONS";

impl Document {
    /// Responds to every request: clients fetch the document before they have a token
    /// (RFC 9728 §3.2).
    pub(super) fn answer(&self, method: &Method, headers: &HeaderMap) -> Response<Bytes> {
        let mut response = match *method {
            Method::GET | Method::HEAD => self.read(*method == Method::HEAD, headers),
            Method::OPTIONS => {
                let mut response = bare(StatusCode::NO_CONTENT);
                allow(&mut response);
                self.preflight(response.headers_mut());
                response
            }
            _ => {
                let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
                allow(&mut response);
                response
            }
        };
        if self.cors {
            set(response.headers_mut(), ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        }
        response
    }

    fn read(&self, head: bool, headers: &HeaderMap) -> Response<Bytes> {
        // The order is that of RFC 9110 §13.2.2.
        if headers.contains_key(IF_MATCH) && !names(headers, &IF_MATCH, &self.etag, false) {
            return bare(StatusCode::PRECONDITION_FAILED);
        }
        let known = names(headers, &IF_NONE_MATCH, &self.etag, true);
        let mut response = if known {
            bare(StatusCode::NOT_MODIFIED)
        } else {
            let mut response = bare(StatusCode::OK);
            set(response.headers_mut(), CONTENT_TYPE, "application/json");
            // Otherwise the length would be that of the body, which HEAD lacks (RFC 9110 §9.3.2).
            response.headers_mut().insert(CONTENT_LENGTH, self.json.len().into());
            if !head {
                *response.body_mut() = self.json.clone();
            }
            response
        };
        response.headers_mut().insert(ETAG, self.etag.clone());
        response.headers_mut().insert(CACHE_CONTROL, self.cache_control.clone());
        response
    }

    /// Adds the CORS headers, because browsers send a preflight before headers like
    /// `MCP-Protocol-Version`.
    fn preflight(&self, headers: &mut HeaderMap) {
        if self.cors {
            set(headers, ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD");
            set(headers, ACCESS_CONTROL_ALLOW_HEADERS, "*");
            set(headers, ACCESS_CONTROL_MAX_AGE, "3600");
        }
    }
}

/// Returns the response if there is no document.
pub(super) fn nothing() -> Response<Bytes> {
    bare(StatusCode::NOT_FOUND)
}

fn bare(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

fn allow(response: &mut Response<Bytes>) {
    set(response.headers_mut(), ALLOW, METHODS);
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// Returns true if a precondition matches the document: by `*` alone, or by our entity tag in a
/// list (RFC 9110 §13.1.1, §13.1.2). Malformed values match nothing. Weak tags match only if
/// `weakly` is set.
fn names(headers: &HeaderMap, field: &HeaderName, etag: &HeaderValue, weakly: bool) -> bool {
    headers.get_all(field).iter().any(|value| {
        let value = value.as_bytes().trim_ascii();
        value == b"*" || Tags(value).any(|(weak, tag)| tag == etag.as_bytes() && (weakly || !weak))
    })
}

/// An iterator over the entity tags of a list, with their quotes, and whether each is weak. Ends
/// where the list is malformed.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = (bool, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let separator = |byte: &u8| matches!(byte, b' ' | b'\t' | b',');
        let start = self.0.iter().position(|byte| !separator(byte))?;
        let rest = self.0.get(start..)?;
        let (weak, rest) = match rest.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        // There may be a comma within the quotes.
        let inside = rest.strip_prefix(b"\"")?;
        let length = inside.iter().position(|byte| *byte == b'"')?;
        let (tag, rest) = rest.split_at_checked(length + 2)?;
        self.0 = match rest.trim_ascii_start() {
            after @ ([] | [b',', ..]) => after,
            _ => b"",
        };
        Some((weak, tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(values: &[&str], weakly: bool) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_NONE_MATCH, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        names(&headers, &IF_NONE_MATCH, &HeaderValue::from_static("\"abc\""), weakly)
    }

    #[test]
    fn rfc9110_13_1_2_lists_weak_validators_and_the_star_are_understood() {
        for values in [
            &["*"][..],
            &[" * "],
            &["\"abc\""],
            &["W/\"abc\""],
            &["\"x\", \"abc\""],
            &["\"x\" ,\t W/\"abc\" , \"y\""],
            &[",, \"abc\",,"],
            &["\"a,b\",\"abc\""],
            &["\"\", \"abc\""],
            &["\"x\"", "\"abc\""],
            &["garbage", "\"abc\""],
        ] {
            assert!(named(values, true), "{values:?}");
        }
    }

    #[test]
    fn rfc9110_13_1_1_the_strong_comparison_takes_no_weak_validator() {
        assert!(named(&["\"abc\""], false));
        assert!(named(&["*"], false));
        assert!(!named(&["W/\"abc\""], false));
        assert!(named(&["W/\"abc\", \"abc\""], false));
    }

    #[test]
    fn what_is_no_list_of_entity_tags_names_nothing() {
        for values in [
            &[][..],
            &[""],
            &[","],
            &["abc"],
            &["\"abc"],
            &["abc\""],
            &["\"ABC\""],
            &["\"abcd\""],
            &["w/\"abc\""],
            &["W/ \"abc\""],
            &["*, \"x\""],
            &["\"x\" \"abc\""],
            &["\"x\"\"abc\""],
            &["x, \"abc\""],
            &["'abc'"],
            &["\"x\u{e9}\""],
            &["\"x,\"abc\""],
            &["W/"],
            &["\""],
        ] {
            assert!(!named(values, true), "{values:?}");
        }
    }
}
