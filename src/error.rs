//! Why a request was refused, and whose fault it is.
//!
//! Every refusal of this crate is one [`VerifyError`]. Its [`kind`](VerifyError::kind) says what
//! happened, its [`blame`](VerifyError::blame) whose fault it is: a client is never told that its
//! token is bad because something else is.
//!
//! ```
//! use tower_introspect::{Blame, ErrorKind, VerifyError};
//!
//! let error = VerifyError::new(ErrorKind::Expired);
//! assert_eq!(error.blame(), Blame::Client);
//! assert_eq!(VerifyError::new(ErrorKind::Unavailable).blame(), Blame::AuthorizationServer);
//! ```

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use http::HeaderValue;

/// A boxed error of any kind.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The party at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// The authorization server is down, slow, or answers nonsense.
    AuthorizationServer,
    /// The client sent something that can't be accepted.
    Client,
    /// This service is misconfigured.
    ResourceServer,
}

impl Blame {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationServer => "authorization_server",
            Self::Client => "client",
            Self::ResourceServer => "resource_server",
        }
    }
}

/// What a token was, when it was no access token.
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
    /// A JWT of a type that this service does not take for an access token.
    Other,
    /// A refresh token.
    Refresh,
    /// A security event token (RFC 8417).
    SecurityEvent,
}

impl TokenKind {
    /// The name of the kind, with its article.
    const fn describe(self) -> &'static str {
        match self {
            Self::ClientAssertion => "a client assertion",
            Self::DpopProof => "a DPoP proof",
            Self::Id => "an ID token",
            Self::IntrospectionResponse => "an introspection response",
            Self::Logout => "a logout token",
            Self::Other => "not of an accepted type",
            Self::Refresh => "a refresh token",
            Self::SecurityEvent => "a security event token",
        }
    }
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    // No credentials to judge (RFC 6750 §3.1, last paragraph).
    /// The request carried no credentials.
    MissingCredentials,
    /// The credentials use a scheme that is not spoken here.
    UnsupportedScheme,

    // `invalid_request`.
    /// The credentials do not follow the grammar of their scheme (RFC 6750 §2.1).
    MalformedCredentials,
    /// There were several credentials, or several ways of sending them (RFC 6750 §2).
    RepeatedCredentials,

    // `invalid_token`.
    /// The token is longer than this service takes.
    TokenTooLong,
    /// The token is not a well-formed JWT.
    MalformedToken,
    /// The token is encrypted, nested, or of another form that is not supported.
    UnsupportedToken,
    /// The algorithm is not allowed for this issuer or not of this key (RFC 8725 §3.1).
    UnsupportedAlgorithm,
    /// The header demands an extension that is not implemented (RFC 7515 §4.1.11, RFC 7797).
    UnsupportedExtension,
    /// No key of the issuer fits the token.
    UnknownKey,
    /// The signature does not verify.
    BadSignature,
    /// The token names no issuer that is trusted here.
    UnknownIssuer,
    /// The issuer is not the one that was asked, or not one the policy admits.
    WrongIssuer,
    /// The token is meant for another resource server.
    WrongAudience,
    /// The token is no access token.
    WrongTokenKind(TokenKind),
    /// A claim that must be there is missing.
    MissingClaim(&'static str),
    /// A claim has the wrong type or form.
    InvalidClaim(&'static str),
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// The authorization server says the token is not active (RFC 7662 §2.2).
    Inactive,
    /// The token was revoked.
    Revoked,
    /// The token can't be introspected at the server that was asked.
    NotIntrospectable,
    /// The token is bound to a key whose possession was not shown (RFC 8705, RFC 9449).
    UnprovenPossession,

    // `invalid_dpop_proof` and `use_dpop_nonce`.
    /// The proof of possession is missing, malformed, not one for this request, or was used before
    /// (RFC 9449 §4.3).
    InvalidProof,
    /// The proof has no nonce of this service, or an old one (RFC 9449 §9).
    NonceRequired,

    // Authorization.
    /// The token lacks a scope that is needed here.
    InsufficientScope,
    /// The end user was not authenticated strongly or recently enough (RFC 9470).
    InsufficientAuthentication,
    /// The policy refuses the request for another reason.
    Denied,
    /// The peer has caused too many questions about bad tokens (RFC 6585 §4).
    TooManyRequests,

    // Not the client's fault.
    /// The authorization server could not be reached in time, or is overloaded.
    Unavailable,
    /// The authorization server answered something that can't be understood.
    BadResponse,
    /// The authorization server rejects the credentials of this service.
    CredentialsRejected,
    /// The middleware is missing, misplaced or misconfigured.
    Misconfigured,
    /// Whether a proof was used before can't be told: the memory of used proofs is full, or away.
    ReplayUnavailable,
}

impl ErrorKind {
    /// The party at fault.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Unavailable | Self::BadResponse => Blame::AuthorizationServer,
            Self::CredentialsRejected | Self::Misconfigured | Self::ReplayUnavailable => {
                Blame::ResourceServer
            }
            _ => Blame::Client,
        }
    }

    /// A stable, bounded name for logs and metrics.
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
            Self::Unavailable => "unavailable",
            Self::BadResponse => "bad_response",
            Self::CredentialsRejected => "credentials_rejected",
            Self::Misconfigured => "misconfigured",
            Self::ReplayUnavailable => "replay_unavailable",
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
            Self::UnprovenPossession => "possession of the key the token is bound to was not shown",
            Self::InvalidProof => "the proof of possession is not valid for this request",
            Self::NonceRequired => "the proof of possession needs a nonce of this service",
            Self::InsufficientScope => "the token lacks a needed scope",
            Self::InsufficientAuthentication => "the user authentication is not sufficient",
            Self::Denied => "the policy refuses the request",
            Self::TooManyRequests => "the peer has sent too many bad tokens",
            Self::Unavailable => "the authorization server is not available",
            Self::BadResponse => "the authorization server answered out of protocol",
            Self::CredentialsRejected => {
                "the authorization server rejects this resource server's credentials"
            }
            Self::Misconfigured => "the resource server is misconfigured",
            Self::ReplayUnavailable => "whether the proof was used before can't be told",
        };
        f.write_str(text)
    }
}

/// What a step-up challenge asks for (RFC 9470 §3).
#[derive(Clone, Debug)]
pub(crate) struct StepUp {
    pub(crate) acr_values: Option<Box<str>>,
    pub(crate) max_age: Option<Duration>,
}

/// A refusal.
///
/// Cheap to clone, one pointer wide. It holds no part of a token, and neither its `Debug` nor its
/// `Display` form shows one.
#[derive(Clone)]
pub struct VerifyError(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    context: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    scope: Option<Box<str>>,
    step_up: Option<StepUp>,
    nonce: Option<HeaderValue>,
    source: Option<Arc<dyn Error + Send + Sync>>,
    /// The server may have failed over this very token.
    by_token: bool,
}

impl VerifyError {
    /// A refusal of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Arc::new(Inner {
            kind,
            context: None,
            retry_after: None,
            scope: None,
            step_up: None,
            nonce: None,
            source: None,
            by_token: false,
        }))
    }

    /// The token lacks scope; `needed` is the space-delimited scope that this request needs.
    ///
    /// ```
    /// use tower_introspect::{ErrorKind, VerifyError};
    ///
    /// let error = VerifyError::insufficient_scope("read:payments");
    /// assert_eq!(error.kind(), ErrorKind::InsufficientScope);
    /// assert_eq!(error.scope(), Some("read:payments"));
    /// ```
    #[must_use]
    pub fn insufficient_scope(needed: &str) -> Self {
        Self::new(ErrorKind::InsufficientScope).edit(|inner| inner.scope = Some(needed.into()))
    }

    /// The user authentication is too weak or too old (RFC 9470 §3).
    ///
    /// `acr_values` are the acceptable authentication context class references in order of
    /// preference, space-delimited; `max_age` is rendered in whole seconds.
    ///
    /// ```
    /// use tower_introspect::{ErrorKind, VerifyError};
    ///
    /// let error = VerifyError::insufficient_authentication(Some("mfa"), None);
    /// assert_eq!(error.kind(), ErrorKind::InsufficientAuthentication);
    /// ```
    #[must_use]
    pub fn insufficient_authentication(
        acr_values: Option<&str>,
        max_age: Option<Duration>,
    ) -> Self {
        let step_up = StepUp { acr_values: acr_values.map(Into::into), max_age };
        Self::new(ErrorKind::InsufficientAuthentication).edit(|inner| inner.step_up = Some(step_up))
    }

    /// The proof of possession needs this nonce, which is put into the response as `DPoP-Nonce`
    /// (RFC 9449 §9).
    ///
    /// ```
    /// use http::HeaderValue;
    /// use tower_introspect::{ErrorKind, VerifyError};
    ///
    /// let error = VerifyError::use_nonce(HeaderValue::from_static("fresh"));
    /// assert_eq!(error.kind(), ErrorKind::NonceRequired);
    /// assert!(!format!("{error:?}").contains("fresh"));
    /// ```
    #[must_use]
    pub fn use_nonce(nonce: HeaderValue) -> Self {
        Self::new(ErrorKind::NonceRequired).edit(|inner| inner.nonce = Some(nonce))
    }

    /// Adds what was being done when it went wrong. Shown in logs, never in a response.
    ///
    /// Must not hold any part of a token.
    #[must_use]
    pub fn with_context(self, context: impl Into<Cow<'static, str>>) -> Self {
        self.edit(|inner| inner.context = Some(context.into()))
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        self.edit(|inner| inner.source = Some(Arc::from(source.into())))
    }

    /// Adds the time after which to try again.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        self.edit(|inner| inner.retry_after = Some(after))
    }

    /// The same, with another scope that is needed.
    #[must_use]
    pub(crate) fn with_scope(self, needed: &str) -> Self {
        self.edit(|inner| inner.scope = Some(needed.into()))
    }

    /// The same, with another authentication that is needed.
    #[must_use]
    pub(crate) fn with_step_up(self, step_up: StepUp) -> Self {
        self.edit(|inner| inner.step_up = Some(step_up))
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The party at fault.
    #[must_use]
    pub fn blame(&self) -> Blame {
        self.kind().blame()
    }

    /// When to try again, where the cause told.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The scope that the request needs, where scope was the reason.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// What was being done when it went wrong.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.0.context.as_deref()
    }

    /// Notes that the server may have failed over this very token, so that it is no sign of its
    /// being away.
    #[must_use]
    pub(crate) fn perhaps_by_token(self) -> Self {
        self.edit(|inner| inner.by_token = true)
    }

    pub(crate) fn may_be_by_token(&self) -> bool {
        self.0.by_token
    }

    pub(crate) fn nonce(&self) -> Option<&HeaderValue> {
        self.0.nonce.as_ref()
    }

    pub(crate) fn step_up(&self) -> Option<&StepUp> {
        self.0.step_up.as_ref()
    }

    /// Whether it may be one of few, each of which many requests are refused with: nothing in it was
    /// made for this one.
    #[cfg(feature = "cache")]
    pub(crate) fn is_common(&self) -> bool {
        let Inner { kind: _, context, retry_after, scope, step_up, source, by_token, nonce } =
            &*self.0;
        !matches!(context, Some(Cow::Owned(_)))
            && retry_after.is_none()
            && scope.is_none()
            && step_up.is_none()
            && source.is_none()
            && !by_token
            && nonce.is_none()
    }

    /// Whether two [common](Self::is_common) ones are the same.
    #[cfg(feature = "cache")]
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.context() == other.context()
    }

    /// How much memory it takes, as far as it is known.
    #[cfg(feature = "cache")]
    pub(crate) fn bytes(&self) -> usize {
        let texts = [self.scope(), self.context()].into_iter().flatten().map(str::len);
        2 * size_of::<usize>() + size_of::<Inner>() + texts.sum::<usize>()
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl From<ErrorKind> for VerifyError {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Debug for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("VerifyError");
        out.field("kind", &self.kind());
        if let Some(context) = &self.0.context {
            out.field("context", context);
        }
        if let Some(after) = &self.0.retry_after {
            out.field("retry_after", after);
        }
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        match &self.0.context {
            Some(context) => write!(f, ": {context}"),
            None => Ok(()),
        }
    }
}

impl Error for VerifyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Everything that is wrong with a configuration, each problem with the name of its setting.
///
/// ```
/// use tower_introspect::ConfigError;
///
/// let mut problems = ConfigError::new();
/// problems.push("issuer", "not an https URL");
/// assert_eq!(problems.or_ok(()).unwrap_err().to_string(), "issuer: not an https URL");
/// assert_eq!(ConfigError::new().or_ok(7), Ok(7));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<(String, String)>,
}

impl ConfigError {
    /// No problem yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { problems: Vec::new() }
    }

    /// Notes a problem of the setting `name`. Must not hold a secret.
    pub fn push(&mut self, name: impl Into<String>, problem: impl fmt::Display) {
        self.problems.push((name.into(), problem.to_string()));
    }

    /// Takes over the problems of one part, their names prefixed by that of the part.
    pub fn merge(&mut self, part: &str, problems: Self) {
        let prefixed = |(name, problem)| (format!("{part}.{name}"), problem);
        self.problems.extend(problems.problems.into_iter().map(prefixed));
    }

    /// Takes over problems as they are.
    pub(crate) fn append(&mut self, mut problems: Self) {
        self.problems.append(&mut problems.problems);
    }

    /// The problems: name of the setting, and what is wrong with it.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.problems.iter().map(|(name, problem)| (&**name, &**problem))
    }

    /// `value`, if there is no problem.
    ///
    /// # Errors
    ///
    /// The problems, if there are any.
    pub fn or_ok<T>(self, value: T) -> Result<T, Self> {
        if self.problems.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, problem)) in self.problems.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{name}: {problem}")?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pointer_wide() {
        assert_eq!(size_of::<VerifyError>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), VerifyError>>(), size_of::<usize>());
    }

    #[test]
    fn clones_share_and_edits_do_not() {
        let first = VerifyError::new(ErrorKind::Unavailable);
        let second = first.clone().with_retry_after(Duration::from_secs(3));
        assert_eq!(first.retry_after(), None);
        assert_eq!(second.retry_after(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn source_is_reachable() {
        let error = VerifyError::new(ErrorKind::BadResponse).with_source("not JSON");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("not JSON"));
    }
}
