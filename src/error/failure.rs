//! The failure of a request to an authorization server, and the party at fault.

/// The way in which an introspection request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was sent, because no connection was made.
    NotSent,
    /// Nothing was sent, because the issuer's metadata names no endpoint or can't be fetched.
    NoEndpoint,
    /// No complete response arrived in time.
    Unreachable,
    /// The server is overloaded (408, 429, 503).
    Overloaded,
    /// The server rejects the credentials of this service (RFC 6749 §5.2).
    RejectsCredentials,
    /// The server calls the token invalid in an OAuth error.
    InvalidToken,
    /// The server refuses the request for another reason (other 4xx).
    Refused,
    /// A gateway responded in place of the server (502, 504).
    Gateway,
    /// The server failed (other 5xx), redirects, or sends a response that can't be understood.
    Broken,
}

/// The finding on a failed request: the token is at fault, or it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server fails on this token and on no other.
    Token,
    /// The server fails on other tokens too, this service refused the load, or the cause is not known.
    /// If `allows_stale`, stale facts may be served. If `charges_peer`, the charge for the token stands.
    NotToken { allows_stale: bool, charges_peer: bool },
}
