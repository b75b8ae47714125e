//! Removes the credentials of a request, or hides them from `Debug` output.
//!
//! Extraction and removal use the same functions, so a token that was extracted is also removed.

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri,
    header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL},
    uri::PathAndQuery,
};

use super::{
    extract::Extractor,
    places::{protocols, value_of_cookie, value_of_parameter},
};
use crate::field_names::{self, may_be_confused};

impl Extractor {
    /// Removes the credentials from each place where this extractor looks for tokens.
    pub(crate) fn remove_credentials<B>(&self, request: &mut Request<B>) {
        if let Some(name) = self.query.as_deref() {
            remove_parameter(request.uri_mut(), name);
        }
        let headers = request.headers_mut();
        headers.remove(AUTHORIZATION);
        field_names::remove(headers, |name| self.may_name_header(name));
        if let Some(name) = self.cookie.as_deref() {
            remove_items(headers, &COOKIE, b';', |_, pair| value_of_cookie(pair, name).is_some());
        }
        let held: Vec<usize> = self
            .websocket
            .iter()
            .flat_map(|form| form.find(protocols(headers)))
            .map(|(at, _)| at)
            .collect();
        remove_items(headers, &SEC_WEBSOCKET_PROTOCOL, b',', |at, _| held.contains(&at));
    }

    /// Marks the header fields in which this extractor looks for tokens as sensitive.
    pub(crate) fn mark_sensitive(&self, headers: &mut HeaderMap) {
        mark_sensitive(headers, |name| {
            *name == AUTHORIZATION
                || (*name == COOKIE && self.cookie.is_some())
                || (*name == SEC_WEBSOCKET_PROTOCOL && !self.websocket.is_empty())
                || self.may_name_header(name.as_str().as_bytes())
        });
    }

    /// Returns true if a lenient server may take this name for that of a header with a token.
    fn may_name_header(&self, name: &[u8]) -> bool {
        self.headers.iter().any(|header| may_be_confused(header.as_str().as_bytes(), name))
    }
}

/// Marks all fields of these names as sensitive, so that `Debug` output does not show them.
pub(crate) fn mark_sensitive(headers: &mut HeaderMap, is_secret: impl Fn(&HeaderName) -> bool) {
    let secret = headers.iter_mut().filter(|(name, _)| is_secret(name));
    secret.for_each(|(_, value)| value.set_sensitive(true));
}

/// Removes the pairs of this name from the query.
fn remove_parameter(uri: &mut Uri, name: &str) {
    let Some(query) = uri.query() else { return };
    let holds = |pair: &&str| value_of_parameter(pair, name).is_some();
    if !query.split('&').any(|pair| holds(&pair)) {
        return;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !holds(pair)).collect();
    let (path, kept) = (uri.path(), kept.join("&"));
    let target = if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") };
    let mut parts = std::mem::take(uri).into_parts();
    // Part of a valid target is a valid target. If it were not, the service below would get `/`, and
    // still not the token.
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// Removes the items for which `holds` is true from all fields of this name, and the fields that
/// are empty then. `holds` gets each item with its index among those of all fields.
fn remove_items(
    headers: &mut HeaderMap,
    field: &HeaderName,
    separator: u8,
    holds: impl Fn(usize, &[u8]) -> bool,
) {
    let (mut next, mut kept, mut is_changed) = (0, Vec::new(), false);
    for value in headers.get_all(field) {
        let items = value.as_bytes().split(|byte| *byte == separator);
        let items: Vec<(usize, &[u8])> = (next..).zip(items).collect();
        next += items.len();
        if !items.iter().any(|(at, item)| holds(*at, item)) {
            kept.push(value.clone());
            continue;
        }
        is_changed = true;
        let items = items.into_iter().filter(|(at, item)| !holds(*at, item));
        let items = items.map(|(_, item)| item.trim_ascii());
        let items: Vec<&[u8]> = items.filter(|item| !item.is_empty()).collect();
        // Part of a valid value is a valid value.
        if let Ok(mut left) = HeaderValue::from_bytes(&items.join(&[separator, b' '][..]))
            && !left.is_empty()
        {
            left.set_sensitive(value.is_sensitive());
            kept.push(left);
        }
    }
    if !is_changed {
        return;
    }
    headers.remove(field);
    for value in kept {
        // The map had at least as many fields before, so it can't be full.
        let _ = headers.try_append(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extractor() -> Extractor {
        Extractor::new()
            .danger_query_parameter("access_token")
            .danger_cookie("at")
            .header(HeaderName::from_static("x-api-key"))
            .websocket_protocol("bearer.")
            .websocket_protocol_after("access_token")
            .websocket_protocol_base64url("b64.")
    }

    fn removed(request: http::request::Builder) -> Request<()> {
        let mut request = request.body(()).unwrap();
        extractor().remove_credentials(&mut request);
        request
    }

    #[test]
    fn parameter_is_removed_and_the_rest_of_the_target_kept() {
        for (before, after) in [
            ("/?access_token=abc", "/"),
            ("/a/b?access_token=abc", "/a/b"),
            ("/?a=1&access_token=abc&b=%20&c", "/?a=1&b=%20&c"),
            ("/?access_token=abc&a=1", "/?a=1"),
            ("/?a=1&access_token=abc", "/?a=1"),
            ("/?access_token=a&x=1&access%5Ftoken=b&access_token", "/?x=1"),
            ("/?%61ccess_token=abc", "/"),
            ("https://api.example.com/a?access_token=abc&a=1", "https://api.example.com/a?a=1"),
            ("https://api.example.com?access_token=abc", "https://api.example.com/"),
            ("/?xaccess_token=1&access_tokenx=2", "/?xaccess_token=1&access_tokenx=2"),
            ("/access_token=abc", "/access_token=abc"),
            ("/?", "/?"),
            ("*", "*"),
        ] {
            assert_eq!(removed(Request::get(before)).uri(), after, "{before}");
        }
    }

    fn left(field: &HeaderName, values: &[&str]) -> Vec<String> {
        let request = values.iter().fold(Request::get("/"), |all, one| all.header(field, *one));
        let request = removed(request);
        let values = request.headers().get_all(field).into_iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn cookie_is_removed_and_no_empty_field_left() {
        let left = |values: &[&str]| left(&COOKIE, values);
        assert!(left(&["at=abc"]).is_empty());
        assert!(left(&[" at = abc ; "]).is_empty());
        assert_eq!(left(&["a=1; at=abc; b=2"]), ["a=1; b=2"]);
        assert_eq!(left(&["at=abc;a=1"]), ["a=1"]);
        assert_eq!(left(&["a=1", "at=abc", "b=2"]), ["a=1", "b=2"], "fields of HTTP/2");
        assert_eq!(left(&["at=1; a=1", "at=2", "at=3; b=2"]), ["a=1", "b=2"]);
        assert_eq!(left(&["xat=1;  AT=2"]), ["xat=1;  AT=2"], "others stay as they are");
        assert_eq!(left(&["a=\"at=b\""]), ["a=\"at=b\""]);
    }

    #[test]
    fn protocol_is_removed_and_no_empty_field_left() {
        let left = |values: &[&str]| left(&SEC_WEBSOCKET_PROTOCOL, values);
        assert!(left(&["bearer.abc"]).is_empty());
        assert_eq!(left(&["chat, bearer.abc,v2"]), ["chat, v2"]);
        assert_eq!(left(&["bearer.abc", "chat"]), ["chat"]);
        assert_eq!(left(&["chat,xbearer.abc"]), ["chat,xbearer.abc"]);
        assert_eq!(left(&["b64.YWJj, chat"]), ["chat"]);
        assert_eq!(left(&["access_token, abc"]), ["access_token"], "for the server to select");
        assert_eq!(left(&["chat, access_token", "abc, v2"]), ["chat, access_token", "v2"]);
        assert_eq!(left(&["access_token"]), ["access_token"]);
        let all = ["access_token,, abc", "bearer.abc", "chat, b64.YWJj, access_token, abc"];
        assert_eq!(left(&all), ["access_token", "chat, access_token"]);
    }

    #[test]
    fn header_is_removed_in_every_spelling_that_a_lenient_server_folds() {
        let request = removed(
            Request::get("/")
                .header("x-api-key", "a")
                .header("X_Api_Key", "b")
                .header("connection", "x-api-key, te")
                .header("x-api-keys", "c"),
        );
        let left: Vec<_> = request.headers().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["x-api-keys", "connection"]);
        assert_eq!(request.headers()["connection"], "te");
    }

    #[test]
    fn only_configured_places_are_changed() {
        let mut request = Request::get("/?access_token=abc")
            .header(COOKIE, "at=abc")
            .header(SEC_WEBSOCKET_PROTOCOL, "bearer.abc")
            .header(AUTHORIZATION, "Bearer abc")
            .header("x-api-key", "abc")
            .body(())
            .unwrap();
        Extractor::new().mark_sensitive(request.headers_mut());
        assert!(!request.headers()["x-api-key"].is_sensitive());
        assert!(!request.headers()[COOKIE].is_sensitive());
        assert!(!request.headers()[SEC_WEBSOCKET_PROTOCOL].is_sensitive());
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
        Extractor::new().remove_credentials(&mut request);
        assert_eq!(request.uri(), "/?access_token=abc");
        assert_eq!(request.headers().len(), 3);
    }

    #[test]
    fn what_is_left_of_a_sensitive_field_is_sensitive() {
        let mut request = Request::get("/").header(COOKIE, "at=abc; a=1").body(()).unwrap();
        extractor().mark_sensitive(request.headers_mut());
        extractor().remove_credentials(&mut request);
        assert!(request.headers()[COOKIE].is_sensitive());
    }
}
