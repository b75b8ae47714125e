//! The verified token, the terms it was admitted under, and their requirements.
//!
//! These types refer to each other: a token keeps the requirements that it met, and a requirement may
//! be a function of the token. So they share a file.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    implied_scopes::ImpliedScopes, observer::Observer, requirement::detail_matcher::DetailMatcher,
};
use crate::{
    claims::path::ClaimPath, clock::UnixTime, credentials::token::Scheme,
    error::refusal::VerifyError, respond::challenge::Challenge, verify::active::ActiveToken,
};

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

/// A token that was verified and found sufficient for its request.
///
/// Only a [`Policy`](crate::Policy) creates it, once for each request. It is stored in the request
/// extensions and is cheap to clone.
#[derive(Clone)]
pub struct VerifiedToken {
    pub(super) active: ActiveToken,
    pub(super) scheme: Scheme,
    /// In nanoseconds: 64 bits hold some centuries and take half the space of a `Duration`.
    pub(super) decision_age: u64,
    pub(super) admitted_at: UnixTime,
    pub(super) terms: Arc<Terms>,
    /// The requirements it met after it was admitted. The first one needs no allocation.
    pub(super) met: Option<Requirement>,
    pub(super) observed: Observed,
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
    pub(super) requirements: Vec<Requirement>,
    pub(super) observed: Vec<(Requirement, Observer)>,
    pub(super) implied: ImpliedScopes,
    pub(super) challenge: Arc<Challenge>,
}
