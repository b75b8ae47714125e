use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::respond::http::in_seconds;

/// An endpoint of the [`AuthorizationServer`](super::AuthorizationServer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// Adding a subject to an event stream (SSF 1.0, Subjects).
    AddSubject,
    /// The metadata (RFC 8414, OpenID Connect Discovery), at both of its addresses.
    Discovery,
    /// Token introspection (RFC 7662).
    Introspection,
    /// The public keys (RFC 7517).
    Jwks,
    /// The poll for security events (RFC 8936 §2).
    Poll,
    /// Removing a subject from an event stream (SSF 1.0, Subjects).
    RemoveSubject,
    /// Token revocation (RFC 7009).
    Revocation,
    /// The metadata of the transmitter of security events (SSF 1.0).
    SsfConfiguration,
    /// The status of an event stream (SSF 1.0, Stream Status).
    StreamStatus,
    /// The configuration of event streams (SSF 1.0, Stream Configuration).
    Streams,
    /// The token endpoint (RFC 6749 §3.2).
    Token,
    /// The request for a verification event (SSF 1.0, Verification).
    Verification,
}

impl Endpoint {
    pub(super) const ALL: [Self; 12] = [
        Self::AddSubject,
        Self::Discovery,
        Self::Introspection,
        Self::Jwks,
        Self::Poll,
        Self::RemoveSubject,
        Self::Revocation,
        Self::SsfConfiguration,
        Self::StreamStatus,
        Self::Streams,
        Self::Token,
        Self::Verification,
    ];

    /// Returns true if the path goes between the host and the path of the issuer (RFC 8414 §3.1,
    /// SSF 1.0).
    pub(super) const fn is_well_known(self) -> bool {
        matches!(self, Self::Discovery | Self::SsfConfiguration)
    }

    /// Returns the path of the endpoint below the issuer. The metadata has URLs of its own.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::AddSubject => "/ssf/subjects/add",
            Self::Discovery => "/.well-known/oauth-authorization-server",
            Self::Introspection => "/introspect",
            Self::Jwks => "/jwks",
            Self::Poll => "/ssf/poll",
            Self::RemoveSubject => "/ssf/subjects/remove",
            Self::Revocation => "/revoke",
            Self::SsfConfiguration => "/.well-known/ssf-configuration",
            Self::StreamStatus => "/ssf/status",
            Self::Streams => "/ssf/streams",
            Self::Token => "/token",
            Self::Verification => "/ssf/verify",
        }
    }
}

/// A way in which an endpoint fails to respond properly.
///
/// ```
/// use std::time::Duration;
/// use http::StatusCode;
/// use tower_introspect::test_util::{AuthorizationServer, Endpoint, Fault};
///
/// let server = AuthorizationServer::new("https://as.example.com");
/// server.inject(
///     Endpoint::Introspection,
///     Fault::status(StatusCode::SERVICE_UNAVAILABLE)
///         .with_retry_after(Duration::from_secs(7))
///         .for_next(2),
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) effect: Effect,
    pub(super) delay: Duration,
    /// The number of requests it still applies to. `None` for all.
    remaining: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Effect {
    Close,
    Garbage,
    Hang,
    Oversize(usize),
    /// The proper response.
    Proper,
    Respond(Response<Bytes>),
    Truncate,
    Unreachable,
}

impl Fault {
    /// Closes the connection without a response.
    #[must_use]
    pub const fn close() -> Self {
        Self::new(Effect::Close)
    }

    /// Sends the proper response after `delay`.
    ///
    /// The response is made when the request arrives, so it may be out of date when it is sent.
    #[must_use]
    pub const fn delay(delay: Duration) -> Self {
        Self::new(Effect::Proper).with_delay(delay)
    }

    /// Sends truncated JSON under the proper status and content type.
    #[must_use]
    pub const fn garbage() -> Self {
        Self::new(Effect::Garbage)
    }

    /// Sends no response until [`clear`](super::AuthorizationServer::clear) is called.
    ///
    /// The requests then get the response that was proper when they arrived.
    #[must_use]
    pub const fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    /// Sends an HTML page with status 200, as captive portals and proxies do.
    #[must_use]
    pub fn html() -> Self {
        let page = Bytes::from_static(b"<!doctype html><title>Sign in</title><p>Please sign in.");
        Self::respond(with_type(StatusCode::OK, "text/html; charset=utf-8", page))
    }

    /// Sends the proper response, padded with white space to at least `bytes`.
    #[must_use]
    pub const fn oversize(bytes: usize) -> Self {
        Self::new(Effect::Oversize(bytes))
    }

    /// Sends a redirect that keeps the method and the body of the request (RFC 9110 §15.4.8).
    ///
    /// # Panics
    ///
    /// Panics if `url` is not a valid header value.
    #[must_use]
    pub fn redirect(url: &str) -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        let location = url.parse().expect("a URL fits a header");
        response.headers_mut().insert(http::header::LOCATION, location);
        Self::respond(response)
    }

    /// Sends this response.
    #[must_use]
    pub const fn respond(response: Response<Bytes>) -> Self {
        Self::new(Effect::Respond(response))
    }

    /// Sends this status with a short text.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        let text = status.canonical_reason().unwrap_or("injected");
        Self::respond(with_type(status, "text/plain", Bytes::from_static(text.as_bytes())))
    }

    /// Sends the head and half of the body of the proper response, then closes the connection.
    #[must_use]
    pub const fn truncate() -> Self {
        Self::new(Effect::Truncate)
    }

    /// Refuses the connection.
    ///
    /// A listening socket can't refuse single requests. There, this is the same as
    /// [`close`](Self::close).
    #[must_use]
    pub const fn unreachable() -> Self {
        Self::new(Effect::Unreachable)
    }

    /// Waits before the fault happens, by tokio's time.
    #[must_use]
    pub const fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Adds `Retry-After` to a response made by the fault itself, in seconds, rounded up.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        if let Effect::Respond(response) = &mut self.effect {
            response.headers_mut().insert(http::header::RETRY_AFTER, in_seconds(after));
        }
        self
    }

    /// Limits the fault to the next `requests` requests. By default it lasts until it is cleared.
    ///
    /// A limited fault does not meet the random tokens by which a resource server judges the health
    /// of this server.
    #[must_use]
    pub const fn for_next(mut self, requests: usize) -> Self {
        self.remaining = Some(requests);
        self
    }

    const fn new(effect: Effect) -> Self {
        Self { effect, delay: Duration::ZERO, remaining: None }
    }
}

/// The faults of one endpoint, used one after the other.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<Fault>);

impl Faults {
    pub(super) fn push(&mut self, fault: Fault) {
        self.0.push_back(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the fault that lasts until it is cleared, if it is the next.
    pub(super) fn lasting(&self) -> Option<Fault> {
        self.0.front().filter(|fault| fault.remaining.is_none()).cloned()
    }

    /// Returns the fault for the next request.
    pub(super) fn next(&mut self) -> Option<Fault> {
        loop {
            let fault = self.0.front_mut()?;
            match &mut fault.remaining {
                None => return Some(fault.clone()),
                Some(0) => drop(self.0.pop_front()),
                Some(remaining) => {
                    *remaining -= 1;
                    return Some(fault.clone());
                }
            }
        }
    }
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let value = http::HeaderValue::from_static(content_type);
    response.headers_mut().insert(http::header::CONTENT_TYPE, value);
    response
}
