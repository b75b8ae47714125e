use std::fmt;

/// The party that caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// The authorization server is down or slow, or its response can't be understood.
    AuthorizationServer,
    /// The client sent something that can't be accepted.
    Client,
    /// This service is misconfigured, its clock is wrong, or its store of used proofs is unavailable.
    ResourceServer,
}

impl Blame {
    /// Returns a stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationServer => "authorization_server",
            Self::Client => "client",
            Self::ResourceServer => "resource_server",
        }
    }
}

/// The kind of a token that is not an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenKind {
    /// A client assertion (RFC 7523).
    ClientAssertion,
    /// A DPoP proof (RFC 9449).
    DpopProof,
    /// An OpenID Connect ID token.
    Id,
    /// A signed introspection response (RFC 9701).
    IntrospectionResponse,
    /// A back-channel logout token.
    Logout,
    /// A JWT of a type that this service does not accept as an access token.
    Other,
    /// A refresh token.
    Refresh,
    /// A security event token (RFC 8417).
    SecurityEvent,
    /// A JWT that nothing marks as an access token. It may be an ID token.
    Unmarked,
}

impl TokenKind {
    /// Returns the words that follow "the token is" in an error message.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::ClientAssertion => "a client assertion",
            Self::DpopProof => "a DPoP proof",
            Self::Id => "an ID token",
            Self::IntrospectionResponse => "an introspection response",
            Self::Logout => "a logout token",
            Self::Other => "not of an accepted type",
            Self::Refresh => "a refresh token",
            Self::SecurityEvent => "a security event token",
            Self::Unmarked => "not marked as an access token",
        }
    }
}

/// The reason for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    // The request has no credentials to judge (RFC 6750 §3.1, last paragraph).
    /// The request carried no credentials.
    MissingCredentials,
    /// The credentials use a scheme that this service does not support.
    UnsupportedScheme,

    // `invalid_request`.
    /// The credentials do not follow the grammar of their scheme (RFC 6750 §2.1).
    MalformedCredentials,
    /// The request carries several credentials, or sends them in several ways (RFC 6750 §2).
    RepeatedCredentials,

    // `invalid_token`.
    /// The token is longer than this service accepts.
    TokenTooLong,
    /// The token is not a well-formed JWT.
    MalformedToken,
    /// The token is encrypted, nested, or of another form that is not supported.
    UnsupportedToken,
    /// The algorithm is not allowed for this issuer or does not fit the key (RFC 8725 §3.1).
    UnsupportedAlgorithm,
    /// The header demands an extension that is not implemented (RFC 7515 §4.1.11, RFC 7797).
    UnsupportedExtension,
    /// No key of the issuer fits the token.
    UnknownKey,
    /// The signature does not verify.
    BadSignature,
    /// The token names no issuer that this service trusts.
    UnknownIssuer,
    /// The issuer is not the one that the verifier expects, or not one that the policy admits.
    WrongIssuer,
    /// The token is meant for another resource server.
    WrongAudience,
    /// The token is not an access token.
    WrongTokenKind(TokenKind),
    /// A required claim is missing.
    MissingClaim(&'static str),
    /// A claim has the wrong type or form.
    InvalidClaim(&'static str),
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// The authorization server reports that the token is not active (RFC 7662 §2.2).
    Inactive,
    /// The token was revoked.
    Revoked,
    /// The authorization server can't introspect this token.
    NotIntrospectable,
    /// The token is bound to a key, and the client did not prove possession of the key
    /// (RFC 8705, RFC 9449).
    UnprovenPossession,

    // `invalid_dpop_proof` and `use_dpop_nonce`.
    /// The proof of possession is missing, malformed, not valid for this request, or was used
    /// before (RFC 9449 §4.3).
    InvalidProof,
    /// The proof of possession has no nonce of this service, or an old one (RFC 9449 §9).
    NonceRequired,

    // Authorization.
    /// The token lacks a scope that the request needs.
    InsufficientScope,
    /// The end user was not authenticated strongly or recently enough (RFC 9470).
    InsufficientAuthentication,
    /// The policy refuses the request for another reason.
    Denied,
    /// The peer has caused too many requests to the authorization server with bad tokens (RFC 6585
    /// §4).
    TooManyRequests,

    // Not the fault of the client.
    /// The clock of this service is certainly wrong, so it can't tell which tokens have expired.
    ClockWrong,
    /// The authorization server could not be reached in time, or is overloaded.
    Unavailable,
    /// The response of the authorization server can't be understood.
    BadResponse,
    /// The authorization server fails on this token whenever it is introspected, and responds about
    /// others.
    FailsOnToken,
    /// No known key of the issuer fits the token, and the issuer's current keys are not known yet.
    /// The client can try again soon.
    KeyPending,
    /// The issuer publishes the key that the token names, but the key can't be used: it is malformed,
    /// too weak, of an unknown type, or one of more keys than are kept. Another token does not help.
    UnusableKey,
    /// More keys of the issuer fit the token than are tried, and none of those that were tried
    /// verifies it.
    UntriedKeys,
    /// The authorization server rejects the credentials of this service.
    CredentialsRejected,
    /// The middleware is missing, misplaced or misconfigured.
    Misconfigured,
    /// The store of used proofs is full or unavailable, so a replayed proof can't be detected.
    ReplayUnavailable,
    /// As many streams are open as the service allows, or as it allows this issuer or subject.
    TooManyStreams,
}

impl ErrorKind {
    /// Returns the party at fault.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Unavailable
            | Self::BadResponse
            | Self::FailsOnToken
            | Self::KeyPending
            | Self::UnusableKey
            | Self::UntriedKeys => Blame::AuthorizationServer,
            Self::ClockWrong
            | Self::CredentialsRejected
            | Self::Misconfigured
            | Self::ReplayUnavailable
            | Self::TooManyStreams => Blame::ResourceServer,
            _ => Blame::Client,
        }
    }

    /// Returns a stable name for logs and metrics, from a fixed set.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::MissingCredentials => "missing_credentials",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::MalformedCredentials => "malformed_credentials",
            Self::RepeatedCredentials => "repeated_credentials",
            Self::TokenTooLong => "token_too_long",
            Self::MalformedToken => "malformed_token",
            Self::UnsupportedToken => "unsupported_token",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::UnsupportedExtension => "unsupported_extension",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::WrongTokenKind(_) => "wrong_token_kind",
            Self::MissingClaim(_) => "missing_claim",
            Self::InvalidClaim(_) => "invalid_claim",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Inactive => "inactive",
            Self::Revoked => "revoked",
            Self::NotIntrospectable => "not_introspectable",
            Self::UnprovenPossession => "unproven_possession",
            Self::InvalidProof => "invalid_proof",
            Self::NonceRequired => "nonce_required",
            Self::InsufficientScope => "insufficient_scope",
            Self::InsufficientAuthentication => "insufficient_authentication",
            Self::Denied => "denied",
            Self::TooManyRequests => "too_many_requests",
            Self::ClockWrong => "clock_wrong",
            Self::Unavailable => "unavailable",
            Self::BadResponse => "bad_response",
            Self::FailsOnToken => "fails_on_token",
            Self::KeyPending => "key_pending",
            Self::UnusableKey => "unusable_key",
            Self::UntriedKeys => "untried_keys",
            Self::CredentialsRejected => "credentials_rejected",
            Self::Misconfigured => "misconfigured",
            Self::ReplayUnavailable => "replay_unavailable",
            Self::TooManyStreams => "too_many_streams",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::MissingCredentials => "the request carries no credentials",
            Self::UnsupportedScheme => "the authentication scheme is not supported",
            Self::MalformedCredentials => "the credentials are malformed",
            Self::RepeatedCredentials => "the request carries more than one set of credentials",
            Self::TokenTooLong => "the token is too long",
            Self::MalformedToken => "the token is malformed",
            Self::UnsupportedToken => "the token is of an unsupported form",
            Self::UnsupportedAlgorithm => "the signature algorithm is not allowed",
            Self::UnsupportedExtension => "the token demands an unsupported extension",
            Self::UnknownKey => "no key of the issuer fits the token",
            Self::BadSignature => "the signature does not verify",
            Self::UnknownIssuer => "the issuer is not trusted",
            Self::WrongIssuer => "the token is of another issuer",
            Self::WrongAudience => "the token is meant for another audience",
            Self::WrongTokenKind(kind) => return write!(f, "the token is {}", kind.describe()),
            Self::MissingClaim(name) => return write!(f, "the token lacks the claim `{name}`"),
            Self::InvalidClaim(name) => return write!(f, "the claim `{name}` is invalid"),
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Inactive => "the token is not active",
            Self::Revoked => "the token was revoked",
            Self::NotIntrospectable => "the token can't be introspected",
            Self::UnprovenPossession => {
                "the client did not prove possession of the key that the token is bound to"
            }
            Self::InvalidProof => "the proof of possession is not valid for this request",
            Self::NonceRequired => "the proof of possession needs a nonce of this service",
            Self::InsufficientScope => "the token lacks a needed scope",
            Self::InsufficientAuthentication => "the user authentication is not sufficient",
            Self::Denied => "the policy refuses the request",
            Self::TooManyRequests => "the peer has sent too many bad tokens",
            Self::ClockWrong => "the clock of the resource server is wrong",
            Self::Unavailable => "the authorization server is not available",
            Self::BadResponse => "the response of the authorization server can't be understood",
            Self::FailsOnToken => "the authorization server fails on this token",
            Self::KeyPending => "the current keys of the issuer are not known yet",
            Self::UnusableKey => "the published key of the token can't be used",
            Self::UntriedKeys => "more keys of the issuer fit the token than are tried",
            Self::CredentialsRejected => {
                "the authorization server rejects this resource server's credentials"
            }
            Self::Misconfigured => "the resource server is misconfigured",
            Self::ReplayUnavailable => "the service can't check whether the proof was used before",
            Self::TooManyStreams => "too many streams are open",
        };
        f.write_str(text)
    }
}
