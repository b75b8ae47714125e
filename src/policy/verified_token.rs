//! The verified token, the terms it was admitted under, and their requirements.
//!
//! These types refer to each other: a token keeps the requirements that it met, and a requirement may
//! be a function of the token. So they share a file. `requirement/` has the methods of a requirement.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use super::{
    implied_scopes::ImpliedScopes, observer::Observer, requirement::detail_matcher::DetailMatcher,
};
use crate::{
    claims::{claims_set::Claims, path::ClaimPath, scope::Scope},
    clock::UnixTime,
    credentials::token::Scheme,
    error::{kind::ErrorKind, refusal::VerifyError},
    respond::{challenge::Challenge, hook::RefusalHook},
    verify::active::{ActiveToken, Method},
};

/// A token that was verified and found sufficient for its request.
///
/// Only a [`Policy`](crate::Policy) creates it, once for each request. It is stored in the request
/// extensions and is cheap to clone.
#[derive(Clone)]
pub struct VerifiedToken {
    pub(super) active: ActiveToken,
    scheme: Scheme,
    /// In nanoseconds: 64 bits hold some centuries and take half the space of a `Duration`.
    facts_age: u64,
    admitted_at: UnixTime,
    pub(super) terms: Arc<Terms>,
    /// The requirements it met after it was admitted. The first one needs no allocation.
    pub(super) met: Option<Requirement>,
    pub(super) observed: Observed,
}

impl VerifiedToken {
    pub(super) fn new(
        active: ActiveToken,
        scheme: Scheme,
        facts_age: Duration,
        admitted_at: UnixTime,
        terms: Arc<Terms>,
    ) -> Self {
        let (met, observed) = (None, Observed(None));
        let facts_age = u64::try_from(facts_age.as_nanos()).unwrap_or(u64::MAX);
        Self { active, scheme, facts_age, admitted_at, terms, met, observed }
    }

    /// Returns the facts about the token.
    pub(crate) const fn active(&self) -> &ActiveToken {
        &self.active
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

    /// Returns the client that requested the token. See [`Claims::client_id`].
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
                .with_unmet_requirement(format!("claims as `{}`", std::any::type_name::<T>()))
        })
    }

    /// Returns how the token was verified.
    #[must_use]
    pub fn method(&self) -> Method {
        self.active.method()
    }

    /// Returns the age of the facts about the token: the time from the start of the verification to
    /// this request.
    ///
    /// A revocation within this time may have been missed.
    #[must_use]
    pub fn facts_age(&self) -> Duration {
        Duration::from_nanos(self.facts_age)
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

    /// Checks the observed requirements of the policy, and keeps the errors of those that are not
    /// met.
    ///
    /// An observer counts requests. So this is called once for each, when it is admitted for good.
    pub(super) fn observe_all(&mut self) {
        if self.terms.observed.is_empty() {
            return;
        }
        let terms = Arc::clone(&self.terms);
        for (requirement, observer) in &terms.observed {
            if let Some(error) = observer.note(requirement.check(self)) {
                self.observed.push(error);
            }
        }
    }

    pub(super) fn leeway(&self) -> Duration {
        self.terms.leeway
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
            .field("facts_age", &self.facts_age())
            .finish_non_exhaustive()
    }
}

/// The errors of observed requirements that would have refused the request.
///
/// Usually empty, and then as small as a pointer.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed(pub(super) Option<Arc<Vec<VerifyError>>>);

/// The requirements of a policy beyond a good token, and the settings that are still needed after
/// the token was admitted.
///
/// It is shared with every [`VerifiedToken`].
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) leeway: Duration,
    /// The longest time from `iat` to `exp`.
    pub(super) max_token_lifetime: Option<Duration>,
    pub(super) requirements: Vec<Requirement>,
    pub(super) observed: Vec<(Requirement, Observer)>,
    pub(super) implied: ImpliedScopes,
    pub(super) challenge: Arc<Challenge>,
    /// Called for refusals by the layer, and for those of requests that it has admitted.
    pub(super) hook: Option<RefusalHook>,
}

/// A requirement on a verified token.
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::{policy::Requirement, scopes};
///
/// // The payment scope, with a second factor within the last five minutes;
/// // or a support agent with any scope.
/// let requirement = Requirement::all_scopes(scopes!["write:payments"])
///     .and(Requirement::any_acr(["mfa"]))
///     .and(Requirement::max_age(Duration::from_secs(300)))
///     .or(Requirement::claim_contains("/realm_access/roles", "support"));
/// # let _ = requirement;
/// ```
///
/// # Contents of a refusal
///
/// The challenge of a refusal tells the client what its next token needs. If several parts of an
/// [`and`](Self::and) are not met, the challenge names them all: every scope value that the whole
/// requirement needs, together with the authentication (RFC 9470 §3). Of the alternatives of an
/// [`or`](Self::or), it names the one that costs the client least: fewer missing scope values
/// before more, scope before another login, and alternatives that no token could meet last. A fault
/// of the token itself is reported before anything that it lacks.
///
/// # Claims of the wrong type
///
/// A claim of the wrong type meets neither a requirement nor its opposite: `!requirement` refuses
/// it too.
#[derive(Clone)]
pub struct Requirement(pub(super) Arc<Kind>);

impl From<Kind> for Requirement {
    fn from(kind: Kind) -> Self {
        Self(Arc::new(kind))
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kinds of requirement.
pub(super) enum Kind {
    All(Box<[Requirement]>),
    AllScopes(Box<[Box<str>]>),
    Any(Box<[Requirement]>),
    AnyAcr(Box<[Box<str>]>),
    AnyActor(Box<[Box<str>]>),
    AnyClient(Box<[Box<str>]>),
    AnyIssuer(Box<[Box<str>]>),
    AnyScope(Box<[Box<str>]>),
    Audience(Box<str>),
    Check(Box<Check>),
    Claim(ClaimTest),
    Detail(DetailMatcher),
    Fresh(Duration),
    MaxAge(Duration),
    NoActor,
    Not(Requirement),
    SenderConstrained,
}

type Check = dyn Fn(&VerifiedToken) -> Result<(), VerifyError> + Send + Sync;

/// A test of one claim.
pub(super) struct ClaimTest {
    pub(super) path: ClaimPath,
    pub(super) test: Box<Test>,
}

/// Returns `None` if the claim has another type than the test expects.
type Test = dyn Fn(&str) -> Option<bool> + Send + Sync;

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => f.debug_tuple("All").field(parts).finish(),
            Self::AllScopes(values) => f.debug_tuple("AllScopes").field(values).finish(),
            Self::Any(parts) => f.debug_tuple("Any").field(parts).finish(),
            Self::AnyAcr(values) => f.debug_tuple("AnyAcr").field(values).finish(),
            Self::AnyActor(values) => f.debug_tuple("AnyActor").field(values).finish(),
            Self::AnyClient(values) => f.debug_tuple("AnyClient").field(values).finish(),
            Self::AnyIssuer(values) => f.debug_tuple("AnyIssuer").field(values).finish(),
            Self::AnyScope(values) => f.debug_tuple("AnyScope").field(values).finish(),
            Self::Audience(identifier) => f.debug_tuple("Audience").field(identifier).finish(),
            Self::Check(_) => f.debug_tuple("Check").finish_non_exhaustive(),
            Self::Claim(test) => f.debug_tuple("Claim").field(&test.path).finish_non_exhaustive(),
            Self::Detail(matcher) => f.debug_tuple("Detail").field(matcher).finish(),
            Self::Fresh(age) => f.debug_tuple("Fresh").field(age).finish(),
            Self::MaxAge(age) => f.debug_tuple("MaxAge").field(age).finish(),
            Self::NoActor => f.write_str("NoActor"),
            Self::Not(part) => f.debug_tuple("Not").field(part).finish(),
            Self::SenderConstrained => f.write_str("SenderConstrained"),
        }
    }
}
