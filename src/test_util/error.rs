//! The errors of the endpoints.

use http::Method;

/// The reason why a request is refused.
#[derive(Debug)]
pub(super) enum EndpointError {
    /// An error of RFC 6749 §5.2, with a description for debugging the test.
    OAuth(&'static str, &'static str),
    /// Client authentication failed (RFC 6749 §5.2).
    InvalidClient,
    /// The client accepts no media type that the endpoint has.
    NotAcceptable,
    /// The endpoint expects another method.
    WrongMethod(Method),
}

impl EndpointError {
    pub(super) const fn invalid_request(why: &'static str) -> Self {
        Self::OAuth("invalid_request", why)
    }
}
