//! How a request to an authorization server failed, and whose fault that was.

/// The way in which an introspection request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing of the token was sent: the endpoint is not known, or no connection was made.
    NotSent,
    /// No complete response arrived in time.
    Unreachable,
    /// The server has too much to do (408, 429, 503).
    Overloaded,
    /// The server rejects the credentials of this service (RFC 6749 §5.2).
    RejectsUs,
    /// The server calls the token invalid in an error response.
    NamesToken,
    /// The server refuses the request for another reason (other 4xx).
    Refused,
    /// A gateway responded in place of the server (502, 504).
    Gateway,
    /// The server failed (other 5xx), redirects, or sends a response that can't be understood.
    Broken,
}

/// The party at fault for a failed request, as far as that was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server fails on this token and on no other.
    Token,
    /// The server fails on other tokens, too, or that is not known. If `serves_stale`, cached facts
    /// that are too old may be used in the meantime.
    Nobody { serves_stale: bool },
}
