//! The checked URL of an endpoint to which requests may be sent.

use std::{fmt, net::IpAddr};

use http::{
    Uri,
    uri::{Authority, Scheme},
};

/// An absolute URL over TLS or to this machine, without user information or fragment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(Uri);

/// The reason a URL is not an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointError {
    HasQuery,
    /// An `http` URL of this machine, which a setting would allow.
    LoopbackHttp,
    NotAUrl,
    NotHttps,
}

impl EndpointError {
    /// Returns a short description of the problem.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::HasQuery => "has a query",
            Self::LoopbackHttp => {
                "not an https URL (`danger_allow_http_loopback` allows http to this machine)"
            }
            Self::NotAUrl => "not an absolute URL without user information and fragment",
            Self::NotHttps => "not an https URL",
        }
    }
}

impl Endpoint {
    /// Parses an `https` URL, or with `loopback_http` also an `http` URL whose host is this
    /// machine.
    pub(crate) fn parse(url: &str, loopback_http: bool) -> Result<Self, EndpointError> {
        // `Uri` silently drops a fragment, which an endpoint must not have (RFC 6749 §3.1).
        if url.contains('#') {
            return Err(EndpointError::NotAUrl);
        }
        let uri: Uri = url.parse().map_err(|_| EndpointError::NotAUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(EndpointError::NotAUrl);
        };
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(EndpointError::NotAUrl);
        }
        let secure = *scheme == Scheme::HTTPS;
        let local = *scheme == Scheme::HTTP && is_loopback(authority.host());
        match (secure, local) {
            (true, _) => Ok(Self(uri)),
            (_, true) if loopback_http => Ok(Self(uri)),
            (_, true) => Err(EndpointError::LoopbackHttp),
            _ => Err(EndpointError::NotHttps),
        }
    }

    pub(crate) const fn uri(&self) -> &Uri {
        &self.0
    }

    /// Returns the scheme, host and port, which servers under different paths share.
    pub(crate) fn origin(&self) -> String {
        let (scheme, authority) = (self.0.scheme_str(), self.0.authority());
        let (scheme, authority) = (scheme.unwrap_or_default(), authority.map(Authority::as_str));
        format!("{scheme}://{}", authority.unwrap_or_default()).to_ascii_lowercase()
    }

    pub(crate) fn into_uri(self) -> Uri {
        self.0
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

impl std::error::Error for EndpointError {}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8414_2_endpoints_are_https() {
        assert!(Endpoint::parse("https://as.example.com/jwks?a=b", false).is_ok());
        for url in ["http://as.example.com/", "ftp://as.example.com/", "ftp://127.0.0.1/"] {
            assert_eq!(Endpoint::parse(url, false), Err(EndpointError::NotHttps), "{url}");
        }
        for url in ["/jwks", "as.example.com", "https://u:p@as.example.com/", "https://as/#x", ""] {
            assert_eq!(Endpoint::parse(url, false), Err(EndpointError::NotAUrl), "{url}");
        }
    }

    #[test]
    fn loopback_http_is_for_this_machine_only() {
        for url in ["http://127.0.0.1:9000/", "http://[::1]:9000/", "http://localhost/"] {
            assert!(Endpoint::parse(url, true).is_ok(), "{url}");
            let problem = Endpoint::parse(url, false).unwrap_err().to_string();
            assert!(problem.contains("`danger_allow_http_loopback`"), "{url}: {problem}");
        }
        for url in ["http://10.0.0.1/", "http://localhost.example.com/", "http://as/"] {
            assert_eq!(Endpoint::parse(url, true), Err(EndpointError::NotHttps), "{url}");
            assert_eq!(Endpoint::parse(url, false), Err(EndpointError::NotHttps), "{url}");
        }
    }
}
