//! The verified token and the identity of a request.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::Extensions;
use serde::de::DeserializeOwned;

use super::{
    requirement::verdict::add,
    verified_token::{Observed, Requirement, Terms, VerifiedToken},
};
use crate::{
    claims::{claims_set::Claims, scope::Scope},
    clock::UnixTime,
    credentials::{head::RequestHead, token::Scheme},
    error::{kind::ErrorKind, refusal::VerifyError},
    respond::{challenge::Challenge, refusal::Refusal},
    verify::active::{ActiveToken, Method},
};

impl VerifiedToken {
    pub(super) fn new(
        active: ActiveToken,
        scheme: Scheme,
        decision_age: Duration,
        admitted_at: UnixTime,
        terms: Arc<Terms>,
    ) -> Self {
        let (met, observed) = (None, Observed(None));
        let decision_age = u64::try_from(decision_age.as_nanos()).unwrap_or(u64::MAX);
        Self { active, scheme, decision_age, admitted_at, terms, met, observed }
    }

    /// Returns the issuer that vouches for the token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.active.issuer()
    }

    /// Returns the subject of the token.
    ///
    /// It is unique only within [`issuer`](Self::issuer): identify users by both (RFC 7519 §4.1.2).
    /// If a client got the token for itself, the subject is usually the client (RFC 9068 §5).
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims().subject()
    }

    /// Returns the client that requested the token.
    #[must_use]
    pub fn client_id(&self) -> Option<Cow<'_, str>> {
        self.claims().client_id()
    }

    /// Returns the scope of the token.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        self.claims().scope()
    }

    /// Returns true if the scope has `value` or a value that implies it
    /// ([`Policy::scope_implies`](crate::Policy::scope_implies)).
    #[must_use]
    pub fn has_scope(&self, value: &str) -> bool {
        self.terms.implied.has(self.scope(), value)
    }

    /// Returns when the token expires, or `None` if its issuer does not say.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.claims().expires_at()
    }

    /// Returns all claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        self.active.claims()
    }

    /// Returns all claims as a value of type `T`.
    ///
    /// The claims of a cache entry are parsed once for each type: while the entry exists, every
    /// request with the token shares the same value without a further allocation. This holds for
    /// eight types; a ninth is parsed each time. A failure to parse is kept too, so `Deserialize`
    /// for `T` must depend on nothing but the claims.
    ///
    /// [`Claims::deserialize`] explains how numbers stay exact.
    ///
    /// ```
    /// use tower_introspect::{VerifiedToken, VerifyError};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Tenant {
    ///     tenant: u64,
    /// }
    ///
    /// fn tenant_of(token: &VerifiedToken) -> Result<u64, VerifyError> {
    ///     Ok(token.claims_as::<Tenant>()?.tenant)
    /// }
    /// # let _ = tenant_of;
    /// ```
    ///
    /// # Errors
    ///
    /// [`Denied`](ErrorKind::Denied) if the claims do not have that type: the issuer vouches for
    /// the token, but the claims lack what the handler needs. The error does not say why, as that
    /// would quote the claims.
    ///
    /// # Security
    ///
    /// Use [`scope`](Self::scope), not a field of `T`, to decide what a token allows: it finds the
    /// scope whichever claim the issuer puts it in.
    pub fn claims_as<T>(&self) -> Result<Arc<T>, VerifyError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.claims().parsed().ok_or_else(|| {
            VerifyError::new(ErrorKind::Denied)
                .with_context("the claims do not have the type that the handler expects")
        })
    }

    /// Returns how the token was verified.
    #[must_use]
    pub fn method(&self) -> Method {
        self.active.method()
    }

    /// Returns the time from the start of the verification to this request.
    ///
    /// A revocation within this time may have been missed.
    #[must_use]
    pub fn decision_age(&self) -> Duration {
        Duration::from_nanos(self.decision_age)
    }

    /// Returns the scheme under which the token was presented.
    ///
    /// It is [`Dpop`](Scheme::Dpop) exactly if the token is bound to a key by DPoP (RFC 9449 §7.1,
    /// §7.2).
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns when the token was admitted, by the clock of the policy.
    #[must_use]
    pub fn admitted_at(&self) -> UnixTime {
        self.admitted_at
    }

    pub(super) fn observe(&mut self, error: VerifyError) {
        self.observed.push(error);
    }

    pub(super) fn leeway(&self) -> Duration {
        self.terms.leeway
    }

    /// Adds the scope of the requirements that this token met before, if `error` names a scope.
    fn with_earlier_scope(&self, error: VerifyError) -> VerifyError {
        let Some(needed) = error.scope() else { return error };
        let mut scope = Vec::new();
        for requirement in self.terms.requirements.iter().chain(&self.met) {
            requirement.add_met_scope(self, &mut scope);
        }
        if scope.is_empty() {
            return error;
        }
        add(&mut scope, needed.split(' ').map(Into::into));
        let scope = scope.join(" ");
        error.with_scope(&scope)
    }

    /// Returns true if the token was admitted on facts older than allowed, because the
    /// authorization server is unavailable. See [`ActiveToken::is_stale`].
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
            .field("decision_age", &self.decision_age())
            .finish_non_exhaustive()
    }
}

/// The identity behind a request: the bearer of a token, or anonymous.
///
/// ```
/// use tower_introspect::Identity;
///
/// // Without the middleware there is no identity, not even an anonymous one.
/// assert!(Identity::of(&http::Extensions::new()).is_none());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Identity {
    /// The request carried no credentials, and none were required.
    Anonymous,
    /// The request carried a token that was verified.
    Token(VerifiedToken),
}

impl Identity {
    /// Returns the identity in the extensions of a request.
    ///
    /// # Security
    ///
    /// `None` means that no [`IntrospectLayer`](crate::IntrospectLayer) has seen the request. Treat
    /// it as an error of the service, never as anonymous.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        let token = || extensions.get::<VerifiedToken>().cloned().map(Self::Token);
        let anonymous = || extensions.get::<Anonymous>().map(|_| Self::Anonymous);
        token().or_else(anonymous)
    }
}

/// A request extension that marks a request admitted without credentials.
#[derive(Clone, Debug)]
pub(crate) struct Anonymous {
    challenge: Arc<Challenge>,
    pub(super) observed: Observed,
}

impl Anonymous {
    pub(crate) const fn new(challenge: Arc<Challenge>) -> Self {
        Self { challenge, observed: Observed(None) }
    }
}

/// Removes identities from the request, so that only a decision of this crate can pass for one.
#[inline]
pub(crate) fn strip_identity(extensions: &mut Extensions) {
    extensions.remove::<VerifiedToken>();
    extensions.remove::<Anonymous>();
}

/// Returns the token that the request was admitted with.
pub(crate) fn token_of(extensions: &Extensions) -> Result<&VerifiedToken, VerifyError> {
    if let Some(token) = extensions.get::<VerifiedToken>() {
        return Ok(token);
    }
    match extensions.get::<Anonymous>() {
        Some(_) => Err(ErrorKind::MissingCredentials.into()),
        // Fail closed: a missing layer must not leave the service open.
        None => Err(VerifyError::new(ErrorKind::Misconfigured).with_context(
            "no IntrospectLayer has processed the request: add one outside of this service",
        )),
    }
}

/// Returns true if a layer has admitted the request.
pub(crate) fn is_known(extensions: &Extensions) -> bool {
    extensions.get::<VerifiedToken>().is_some() || extensions.get::<Anonymous>().is_some()
}

/// Records that the token of a request met a requirement.
pub(crate) fn record_met(extensions: &mut Extensions, requirement: &Requirement) {
    let Some(token) = extensions.get_mut::<VerifiedToken>() else { return };
    let requirement = requirement.clone();
    token.met = Some(match token.met.take() {
        None => requirement,
        Some(before) => before.and(requirement),
    });
}

/// Calls `render` with the refusal of a request inside the layer that admitted it.
///
/// The scope that the refusal names includes that of the requirements that were met before.
/// Otherwise the client would come back with a token that lacks it.
pub(crate) fn refuse_inside<T>(
    error: VerifyError,
    head: RequestHead<'_>,
    render: impl FnOnce(&Refusal<'_>) -> T,
) -> T {
    let token = head.extension::<VerifiedToken>();
    let anonymous = head.extension::<Anonymous>();
    let challenge = token
        .map(|token| &token.terms.challenge)
        .or(anonymous.map(|marker| &marker.challenge))
        .map_or_else(|| Arc::new(Challenge::new("")), Arc::clone);
    let error = match token {
        Some(token) => token.with_earlier_scope(error),
        None => error,
    };
    let refusal = Refusal::new(&error, head, &challenge);
    render(&refusal.presented(token.map(VerifiedToken::scheme)))
}

/// Returns `None` for a request that was admitted without credentials.
pub(crate) fn if_presented<T>(outcome: Result<T, VerifyError>) -> Result<Option<T>, VerifyError> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::MissingCredentials => Ok(None),
        outcome => outcome.map(Some),
    }
}
