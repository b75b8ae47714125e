use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::Extensions;

use crate::{
    claims::{Claims, Scope},
    clock::UnixTime,
    error::{ErrorKind, VerifyError},
    respond::Challenge,
    verify::{ActiveToken, Method},
};

/// A token that was verified and found sufficient for the request it came with.
///
/// Made by a [`Policy`](super::Policy) alone, once per request, and found in the extensions of the
/// request. Cheap to clone.
#[derive(Clone)]
pub struct VerifiedToken {
    active: ActiveToken,
    decision_age: Duration,
    challenge: Arc<Challenge>,
}

impl VerifiedToken {
    pub(super) fn new(
        active: ActiveToken,
        decision_age: Duration,
        challenge: Arc<Challenge>,
    ) -> Self {
        Self { active, decision_age, challenge }
    }

    /// The issuer that vouches for the token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.active.issuer()
    }

    /// Whom the token is about.
    ///
    /// Unique only within [`issuer`](Self::issuer): name users by both (RFC 7519 §4.1.2). For a
    /// token that a client got for itself this is usually the client (RFC 9068 §5).
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims().subject()
    }

    /// The client that asked for the token.
    #[must_use]
    pub fn client_id(&self) -> Option<Cow<'_, str>> {
        self.claims().client_id()
    }

    /// What the token allows.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        self.claims().scope()
    }

    /// True if the token allows `value`.
    #[must_use]
    pub fn has_scope(&self, value: &str) -> bool {
        self.scope().contains(value)
    }

    /// From when on the token is no longer valid. `None` if its issuer does not say.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.claims().expires_at()
    }

    /// All that the issuer says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        self.active.claims()
    }

    /// How the token was verified.
    #[must_use]
    pub fn method(&self) -> Method {
        self.active.method()
    }

    /// How long before this request the verification had started.
    ///
    /// A revocation within this time may not have been seen.
    #[must_use]
    pub fn decision_age(&self) -> Duration {
        self.decision_age
    }

    /// True if the token was let in on facts that are older than was asked for, because the
    /// authorization server is not available. See [`ActiveToken::is_stale`].
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.active.is_stale()
    }
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken")
            .field("issuer", &self.issuer())
            .field("method", &self.method())
            .field("decision_age", &self.decision_age)
            .finish_non_exhaustive()
    }
}

/// Who makes a request: the bearer of a token, or nobody in particular.
///
/// ```
/// use tower_introspect::Identity;
///
/// // No middleware, no identity; not even the anonymous one.
/// assert!(Identity::of(&http::Extensions::new()).is_none());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Identity {
    /// The request carried no credentials, where that is allowed.
    Anonymous,
    /// The request carried a token, and it was verified.
    Token(VerifiedToken),
}

impl Identity {
    /// The identity in the extensions of a request.
    ///
    /// `None` if no [`IntrospectLayer`](crate::IntrospectLayer) has seen the request: treat that as
    /// an error of the service, never as anonymous.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        let token = || extensions.get::<VerifiedToken>().cloned().map(Self::Token);
        let anonymous = || extensions.get::<Anonymous>().map(|_| Self::Anonymous);
        token().or_else(anonymous)
    }
}

/// Marks a request that was let in without credentials.
#[derive(Clone, Debug)]
pub(crate) struct Anonymous(pub(crate) Arc<Challenge>);

/// Sees to it that nothing which came with a request passes for our verdict.
pub(crate) fn strip_identity(extensions: &mut Extensions) {
    extensions.remove::<VerifiedToken>();
    extensions.remove::<Anonymous>();
}

/// The token that a request was let in with.
pub(crate) fn token_of(extensions: &Extensions) -> Result<&VerifiedToken, VerifyError> {
    if let Some(token) = extensions.get::<VerifiedToken>() {
        return Ok(token);
    }
    match extensions.get::<Anonymous>() {
        Some(_) => Err(ErrorKind::MissingCredentials.into()),
        // Open by mistake is the worst that could happen here.
        None => Err(VerifyError::new(ErrorKind::Misconfigured)
            .with_context("no IntrospectLayer has seen the request; add one outside of this")),
    }
}

/// What clients are told where the request is let in.
pub(crate) fn challenge_of(extensions: &Extensions) -> Arc<Challenge> {
    let token = extensions.get::<VerifiedToken>().map(|token| &token.challenge);
    let challenge = token.or_else(|| extensions.get::<Anonymous>().map(|marker| &marker.0));
    challenge.map_or_else(|| Arc::new(Challenge::new("")), Arc::clone)
}
