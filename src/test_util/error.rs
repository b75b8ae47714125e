//! The errors of the endpoints.

use http::StatusCode;

/// The reason why a request is refused.
#[derive(Debug)]
pub(super) enum EndpointError {
    /// An error of RFC 6749 §5.2, with a description for debugging the test.
    OAuth(&'static str, &'static str),
    /// Client authentication failed (RFC 6749 §5.2).
    InvalidClient,
    /// The client accepts no media type that the endpoint has.
    NotAcceptable,
    /// The request has no valid access token (RFC 6750 §3.1).
    InvalidToken,
    /// A status without a body.
    Status(StatusCode),
    /// The endpoint expects one of these methods.
    WrongMethod(&'static str),
}

impl EndpointError {
    pub(super) const fn invalid_request(why: &'static str) -> Self {
        Self::OAuth("invalid_request", why)
    }
}
