use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::Extensions;
use serde::de::DeserializeOwned;

use super::{
    Terms,
    requirement::{Requirement, verdict::add},
};
use crate::{
    claims::{Claims, scope::Scope},
    clock::UnixTime,
    credentials::Scheme,
    error::{kind::ErrorKind, refusal::VerifyError},
    respond::challenge::Challenge,
    verify::active::{ActiveToken, Method},
};

/// A token that was verified and found sufficient for the request it came with.
///
/// Made by a [`Policy`](super::Policy) alone, once per request, and found in the extensions of the
/// request. Cheap to clone.
#[derive(Clone)]
pub struct VerifiedToken {
    active: ActiveToken,
    scheme: Scheme,
    /// In nanoseconds: some centuries, in half the room.
    decision_age: u64,
    admitted_at: UnixTime,
    terms: Arc<Terms>,
    /// What was asked of it after it was let in, and met. The first costs no allocation.
    met: Option<Requirement>,
    observed: Observed,
}

/// With what a request would have been refused. Mostly with nothing, which is one word.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed(Option<Arc<Vec<VerifyError>>>);

impl Observed {
    pub(super) fn push(&mut self, error: VerifyError) {
        Arc::make_mut(self.0.get_or_insert_default()).push(error);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &VerifyError> {
        self.0.iter().flat_map(|errors| errors.iter())
    }

    pub(super) fn of(extensions: &Extensions) -> Option<&Self> {
        let token = extensions.get::<VerifiedToken>().map(|token| &token.observed);
        token.or_else(|| extensions.get::<Anonymous>().map(|who| &who.observed))
    }

    pub(super) fn of_mut(extensions: &mut Extensions) -> Option<&mut Self> {
        if extensions.get::<VerifiedToken>().is_some() {
            return extensions.get_mut::<VerifiedToken>().map(|token| &mut token.observed);
        }
        extensions.get_mut::<Anonymous>().map(|who| &mut who.observed)
    }
}

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

    /// True if the token allows `value`, by name or by a value that implies it
    /// ([`Policy::scope_implies`](super::Policy::scope_implies)).
    #[must_use]
    pub fn has_scope(&self, value: &str) -> bool {
        self.terms.implied.has(self.scope(), value)
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

    /// All that the issuer says, as a type of yours.
    ///
    /// Parsed once for each remembered token: as long as it is, every request that comes with it
    /// gets the same value, without a further allocation. That holds for eight types; a ninth is
    /// parsed each time. It is remembered, too, that the claims are not of a type, so `T` is to be
    /// read from the claims alone.
    ///
    /// How numbers are kept exact is told at [`Claims::deserialize`].
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
    /// [`Denied`](ErrorKind::Denied) if the claims are not of that type: the issuer vouches for the
    /// token, but it does not say what is to be known here. Why they are not is not told, as that
    /// would quote them.
    ///
    /// # Security
    ///
    /// Judge what a token allows by [`scope`](Self::scope) rather than a field of `T`: it is where
    /// the scope is found whatever the issuer calls it.
    pub fn claims_as<T>(&self) -> Result<Arc<T>, VerifyError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.claims().parsed().ok_or_else(|| {
            VerifyError::new(ErrorKind::Denied)
                .with_context("the claims are not of the type that the handler takes")
        })
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
        Duration::from_nanos(self.decision_age)
    }

    /// The scheme under which the token was presented. That of a token that is bound to a key by DPoP
    /// is [`Dpop`](Scheme::Dpop), and of no other (RFC 9449 §7.1, §7.2).
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// When the token was let in, by the clock of the policy.
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
            .field("decision_age", &self.decision_age())
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
pub(crate) struct Anonymous {
    challenge: Arc<Challenge>,
    observed: Observed,
}

impl Anonymous {
    pub(crate) const fn new(challenge: Arc<Challenge>) -> Self {
        Self { challenge, observed: Observed(None) }
    }
}

/// Sees to it that nothing which came with a request passes for our verdict.
#[inline]
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

/// Whether a layer has seen the request and let it in.
pub(crate) fn is_known(extensions: &Extensions) -> bool {
    extensions.get::<VerifiedToken>().is_some() || extensions.get::<Anonymous>().is_some()
}

/// Notes that the token of a request has met a requirement.
pub(crate) fn met(extensions: &mut Extensions, requirement: &Requirement) {
    let Some(token) = extensions.get_mut::<VerifiedToken>() else { return };
    let requirement = requirement.clone();
    token.met = Some(match token.met.take() {
        None => requirement,
        Some(before) => before.and(requirement),
    });
}

/// The refusal of a request that has met other requirements before: the scope that it names has
/// theirs too, or else the client would come back with a token that lacks it.
pub(crate) fn completed(extensions: &Extensions, error: VerifyError) -> VerifyError {
    let (Some(token), Some(needed)) = (extensions.get::<VerifiedToken>(), error.scope()) else {
        return error;
    };
    let mut scope = Vec::new();
    for requirement in token.terms.requirements.iter().chain(&token.met) {
        requirement.witness(token, &mut scope);
    }
    if scope.is_empty() {
        return error;
    }
    add(&mut scope, needed.split(' ').map(Into::into));
    let scope = scope.join(" ");
    error.with_scope(&scope)
}

/// The scheme under which the token of a request came.
pub(crate) fn scheme_of(extensions: &Extensions) -> Option<Scheme> {
    extensions.get::<VerifiedToken>().map(VerifiedToken::scheme)
}

/// What clients are told where the request is let in.
pub(crate) fn challenge_of(extensions: &Extensions) -> Arc<Challenge> {
    let token = extensions.get::<VerifiedToken>().map(|token| &token.terms.challenge);
    let anonymous = || extensions.get::<Anonymous>().map(|marker| &marker.challenge);
    token.or_else(anonymous).map_or_else(|| Arc::new(Challenge::new("")), Arc::clone)
}
