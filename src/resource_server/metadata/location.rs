//! The location of the metadata document, which follows from the resource identifier
//! (RFC 9728 §3.1).

use http::Uri;

use crate::{percent, transport::endpoint::Endpoint};

/// The path of the document if the resource is a whole host.
pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The URL of the document. It follows from the resource identifier alone: `Host` and
/// `X-Forwarded-*` headers of clients have no effect on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    url: String,
    path: String,
    query: Option<String>,
}

impl Location {
    /// Creates the location: the well-known path is inserted between the host and the path and
    /// query of the resource.
    ///
    /// # Errors
    ///
    /// Returns a description of the identifier if it is not an https URL without a fragment
    /// (RFC 9728 §1.2).
    pub(super) fn from_resource(resource: &str, loopback_http: bool) -> Result<Self, &'static str> {
        let endpoint = Endpoint::parse(resource, loopback_http).map_err(|not| not.describe())?;
        // Clients spell any other character in their own way, and challenges can't contain it.
        if !is_rfc3986(resource) || !has_plain_port(endpoint.uri()) {
            return Err("not a URL by RFC 3986");
        }
        let start = resource.find("://").map_or(0, |at| at + 3);
        let end = resource[start..].find(['/', '?']).map_or(resource.len(), |at| start + at);
        let (origin, rest) = resource.split_at(end);
        // A slash that is the whole path is removed. A slash after a path belongs to the path.
        let rest = match rest.strip_prefix('/') {
            Some(after) if after.is_empty() || after.starts_with('?') => after,
            _ => rest,
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        Ok(Self {
            url: format!("{origin}{WELL_KNOWN}{rest}"),
            path: format!("{WELL_KNOWN}{path}"),
            query,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns true if a request for `uri`, whatever its path, may be about this resource.
    ///
    /// The query matters only if it is a part of the identifier.
    pub(super) fn matches_query(&self, uri: &Uri) -> bool {
        self.query.is_none() || self.query.as_deref() == uri.query()
    }

    /// Returns true if a request for `uri` is for the document. Nothing is decoded or normalised:
    /// there is one spelling.
    pub(super) fn matches(&self, uri: &Uri) -> bool {
        self.path == uri.path() && self.matches_query(uri)
    }
}

/// Returns true if `url` has only characters of a URI and valid percent-encoding (RFC 3986 §2).
pub(super) fn is_rfc3986(url: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    url.bytes().all(allowed) && percent::is_valid(url)
}

fn has_plain_port(uri: &Uri) -> bool {
    uri.authority().is_some_and(|authority| {
        authority.host() == authority.as_str() || authority.port_u16().is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(resource: &str) -> Result<(String, String), &'static str> {
        Location::from_resource(resource, true).map(|location| (location.url, location.path))
    }

    #[test]
    fn rfc9728_3_1_the_path_is_inserted_after_the_host() {
        for (resource, url, path) in [
            ("https://h", "https://h{}", "{}"),
            ("https://h/", "https://h{}", "{}"),
            ("https://h/a", "https://h{}/a", "{}/a"),
            ("https://h/a/", "https://h{}/a/", "{}/a/"),
            ("https://h/a/b", "https://h{}/a/b", "{}/a/b"),
            ("https://h//", "https://h{}//", "{}//"),
            ("https://h?k=v", "https://h{}?k=v", "{}"),
            ("https://h/?k=v", "https://h{}?k=v", "{}"),
            ("https://h/a?k=/v?", "https://h{}/a?k=/v?", "{}/a"),
            ("https://h/a/?", "https://h{}/a/?", "{}/a/"),
            ("https://h:8443/a%2Fb", "https://h:8443{}/a%2Fb", "{}/a%2Fb"),
            ("https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443{}/a", "{}/a"),
            ("https://[::1]", "https://[::1]{}", "{}"),
            ("HTTPS://API.Example.COM/A", "HTTPS://API.Example.COM{}/A", "{}/A"),
            ("http://127.0.0.1:9500/mcp", "http://127.0.0.1:9500{}/mcp", "{}/mcp"),
            ("https://h/.well-known/x", "https://h{}/.well-known/x", "{}/.well-known/x"),
        ] {
            let wanted = (url.replace("{}", WELL_KNOWN), path.replace("{}", WELL_KNOWN));
            assert_eq!(of(resource), Ok(wanted), "{resource}");
        }
    }

    #[test]
    fn rfc9728_1_2_a_resource_is_an_https_url_without_a_fragment() {
        for resource in [
            "",
            "api",
            "urn:example:api",
            "/mcp",
            "//h/mcp",
            "http://h/mcp",
            "http://192.0.2.1/",
            "ftp://h/",
            "https:///mcp",
            "https://h/#",
            "https://h/a#b",
            "https://user@h/",
            "https://h:/",
            "https://h:port/",
            "https://h:99999/",
            "https://h/a b",
            "https://h/\"a\"",
            "https://h/{tenant}",
            "https://h/ä",
            "https://h/a%2",
            "https://h/a%zz",
            "https://h/a%",
            "https://h/a\\b",
            "https://h/a\r\nb",
        ] {
            assert!(of(resource).is_err(), "{resource:?}");
        }
        assert!(Location::from_resource("http://127.0.0.1/mcp", false).is_err());
    }

    #[test]
    fn metadata_path_is_compared_exactly() {
        let plain = Location::from_resource("https://h/a%2fb", false).unwrap();
        let matches = |location: &Location, uri: &str| location.matches(&uri.parse().unwrap());
        assert!(matches(&plain, "/.well-known/oauth-protected-resource/a%2fb"));
        // The query is ignored if the identifier has none.
        assert!(matches(&plain, "/.well-known/oauth-protected-resource/a%2fb?x"));
        assert!(matches(&plain, "https://other/.well-known/oauth-protected-resource/a%2fb"));
        for other in [
            "/",
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/a/b",
            "/.well-known/oauth-protected-resource/a%2Fb",
            "/.well-known/oauth-protected-resource/a%2fb/",
            "/.well-known/oauth-protected-resource//a%2fb",
            "//.well-known/oauth-protected-resource/a%2fb",
            "/.Well-Known/oauth-protected-resource/a%2fb",
            "/%2ewell-known/oauth-protected-resource/a%2fb",
            "/x/../.well-known/oauth-protected-resource/a%2fb",
        ] {
            assert!(!matches(&plain, other), "{other}");
        }
        let tenant = Location::from_resource("https://h?tenant=a", false).unwrap();
        assert!(matches(&tenant, "/.well-known/oauth-protected-resource?tenant=a"));
        for other in ["", "?", "?tenant=b", "?tenant=A", "?tenant=a&x"] {
            assert!(!matches(&tenant, &format!("/.well-known/oauth-protected-resource{other}")));
        }
    }
}
