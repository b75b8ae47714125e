//! Keeps the responses to authenticated requests out of shared caches.
//!
//! A shared cache does not store the response to a request with `Authorization` (RFC 9111 §3.5). It
//! can't know that a request with a token elsewhere is as private.

use http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL};

const PRIVATE: &[u8] = b"private";

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Forbids every cache to store the response.
pub(super) fn forbid_storing(headers: &mut HeaderMap) {
    remove_targeted(headers);
    headers.insert(CACHE_CONTROL, NO_STORE);
}

/// Forbids shared caches to store the response, and keeps the other directives of the handler.
pub(super) fn make_private(headers: &mut HeaderMap) {
    remove_targeted(headers);
    let private = private_form(headers).unwrap_or(NO_STORE);
    headers.insert(CACHE_CONTROL, private);
}

/// Removes the fields that take precedence over `Cache-Control` in some caches: targeted ones, whose
/// names end in `-Cache-Control` (RFC 9213 §2), and the older `Surrogate-Control`.
fn remove_targeted(headers: &mut HeaderMap) {
    let is_targeted = |name: &&HeaderName| {
        name.as_str().ends_with("-cache-control") || name.as_str() == "surrogate-control"
    };
    let targeted: Vec<HeaderName> = headers.keys().filter(is_targeted).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
}

/// Returns the value of `Cache-Control` with `private` in place of the directives that allow shared
/// caches to store, or `None` if the value can't be read.
fn private_form(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut kept = Vec::new();
    for value in headers.get_all(CACHE_CONTROL) {
        kept.extend(directives(value.as_bytes())?);
    }
    // `private="field"` is about that field only (RFC 9111 §5.2.2.7).
    kept.retain(|directive| !["public", "private", "s-maxage"].iter().any(|it| is(directive, it)));
    let has = |name| kept.iter().any(|directive| is(directive, name));
    // A cache that understands the status ignores `no-store` beside `must-understand` (RFC 9111
    // §5.2.2.3).
    if !has("no-store") || has("must-understand") {
        kept.insert(0, PRIVATE);
    }
    HeaderValue::from_bytes(&kept.join(&b", "[..])).ok()
}

/// Returns true if this is the directive of that name, with or without an argument.
fn is(directive: &[u8], name: &str) -> bool {
    let end = directive.iter().position(|byte| *byte == b'=').unwrap_or(directive.len());
    directive[..end].trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

/// Splits a value at the commas outside of quotes. Returns `None` if a quote is not closed.
fn directives(value: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(|byte| {
        let opens_or_closes = *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
        quoted ^= opens_or_closes;
        *byte == b',' && !quoted
    });
    let parts = parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()).collect();
    (!quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private(values: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        make_private(&mut headers);
        assert_eq!(headers.get_all(CACHE_CONTROL).iter().count(), 1);
        headers[CACHE_CONTROL].to_str().unwrap().to_owned()
    }

    #[test]
    fn rfc6750_2_3_response_is_private_whatever_the_handler_says() {
        for (handler, response) in [
            (&[][..], "private"),
            (&[""], "private"),
            (&["public"], "private"),
            (&["Public, max-age=60"], "private, max-age=60"),
            (&["max-age=60", "PUBLIC"], "private, max-age=60"),
            (&["s-maxage=60, max-age=5"], "private, max-age=5"),
            (&["private"], "private"),
            (&["private=\"set-cookie, x-a\", max-age=5"], "private, max-age=5"),
            (&["public=\"x, public\""], "private"),
            (&["no-cache"], "private, no-cache"),
            (
                &["no-cache=\"public, \\\"x\", max-age=5"],
                "private, no-cache=\"public, \\\"x\", max-age=5",
            ),
            (&["ext=\"a\\\\\", public"], "private, ext=\"a\\\\\""),
            (&["publicly, unknown=1"], "private, publicly, unknown=1"),
        ] {
            assert_eq!(private(handler), response, "{handler:?}");
        }
    }

    #[test]
    fn no_store_stays() {
        assert_eq!(private(&["no-store"]), "no-store");
        assert_eq!(private(&["public, No-Store, max-age=0"]), "No-Store, max-age=0");
        // RFC 9111 §5.2.2.3
        let understood = "private, no-store, must-understand";
        assert_eq!(private(&["no-store, must-understand, public"]), understood);
    }

    #[test]
    fn value_that_can_not_be_read_becomes_no_store() {
        for value in ["no-store, ext=\"", "max-age=60, private=\"a", "\"\\\""] {
            assert_eq!(private(&[value]), "no-store", "{value}");
        }
    }

    #[test]
    fn rfc9213_2_no_targeted_field_overrides_it() {
        for change in [make_private, forbid_storing] {
            let mut headers = HeaderMap::new();
            for name in ["cdn-cache-control", "example-cdn-cache-control", "surrogate-control"] {
                headers.append(name, HeaderValue::from_static("public, max-age=60"));
                headers.append(name, HeaderValue::from_static("max-age=61"));
            }
            headers.insert("x-other", HeaderValue::from_static("1"));
            change(&mut headers);
            let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            assert_eq!(names.len(), 2, "{names:?}");
        }
    }
}
