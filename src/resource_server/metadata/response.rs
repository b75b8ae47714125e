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
    pub(super) fn respond(&self, method: &Method, headers: &HeaderMap) -> Response<Bytes> {
        let mut response = match *method {
            Method::GET | Method::HEAD => self.respond_to_get(*method == Method::HEAD, headers),
            Method::OPTIONS => {
                let mut response = empty_response(StatusCode::NO_CONTENT);
                allow_methods(&mut response);
                self.allow_preflight(response.headers_mut());
                response
            }
            _ => {
                let mut response = empty_response(StatusCode::METHOD_NOT_ALLOWED);
                allow_methods(&mut response);
                response
            }
        };
        if self.cors {
            insert(response.headers_mut(), ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        }
        response
    }

    fn respond_to_get(&self, head: bool, headers: &HeaderMap) -> Response<Bytes> {
        // The order is that of RFC 9110 §13.2.2.
        if headers.contains_key(IF_MATCH) && !etag_matches(headers, &IF_MATCH, &self.etag, false) {
            return empty_response(StatusCode::PRECONDITION_FAILED);
        }
        let is_known = etag_matches(headers, &IF_NONE_MATCH, &self.etag, true);
        let mut response = if is_known {
            empty_response(StatusCode::NOT_MODIFIED)
        } else {
            let mut response = empty_response(StatusCode::OK);
            insert(response.headers_mut(), CONTENT_TYPE, "application/json");
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
    fn allow_preflight(&self, headers: &mut HeaderMap) {
        if self.cors {
            insert(headers, ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD");
            insert(headers, ACCESS_CONTROL_ALLOW_HEADERS, "*");
            insert(headers, ACCESS_CONTROL_MAX_AGE, "3600");
        }
    }
}

/// Returns the response if there is no document.
pub(super) fn not_found() -> Response<Bytes> {
    empty_response(StatusCode::NOT_FOUND)
}

fn empty_response(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

fn allow_methods(response: &mut Response<Bytes>) {
    insert(response.headers_mut(), ALLOW, METHODS);
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// Returns true if a precondition matches the document: by `*` alone, or by our entity tag in a
/// list (RFC 9110 §13.1.1, §13.1.2). Malformed values match nothing. Weak tags match only if
/// `weakly` is set.
fn etag_matches(headers: &HeaderMap, field: &HeaderName, etag: &HeaderValue, weakly: bool) -> bool {
    headers.get_all(field).iter().any(|value| {
        let value = value.as_bytes().trim_ascii();
        value == b"*"
            || EntityTags(value).any(|(weak, tag)| tag == etag.as_bytes() && (weakly || !weak))
    })
}

/// An iterator over the entity tags of a list, with their quotes, and whether each is weak. Ends
/// where the list is malformed.
struct EntityTags<'a>(&'a [u8]);

impl<'a> Iterator for EntityTags<'a> {
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

    fn matches(values: &[&str], weakly: bool) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_NONE_MATCH, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        etag_matches(&headers, &IF_NONE_MATCH, &HeaderValue::from_static("\"abc\""), weakly)
    }

    #[test]
    fn rfc9110_13_1_2_lists_weak_validators_and_star_match() {
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
            assert!(matches(values, true), "{values:?}");
        }
    }

    #[test]
    fn rfc9110_13_1_1_strong_comparison_ignores_weak_validators() {
        assert!(matches(&["\"abc\""], false));
        assert!(matches(&["*"], false));
        assert!(!matches(&["W/\"abc\""], false));
        assert!(matches(&["W/\"abc\", \"abc\""], false));
    }

    #[test]
    fn invalid_list_of_entity_tags_matches_nothing() {
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
            assert!(!matches(values, true), "{values:?}");
        }
    }
}
