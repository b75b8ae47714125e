//! What this service asks of a token, on every request.
//!
//! A [`Policy`] is the only way from an [`ActiveToken`](crate::verify::ActiveToken), which says what an issuer vouches for, to
//! a [`VerifiedToken`], which says that it is enough for this request. It runs whether the fact is
//! fresh or remembered, so no earlier decision is ever used again.
//!
//! ```
//! use tower_introspect::{
//!     ErrorKind, Policy,
//!     claims::Claims,
//!     clock::{Moment, SystemClock},
//!     credentials::Scheme,
//!     verify::{ActiveToken, Method},
//! };
//!
//! let claims = Claims::from_json(br#"{"sub": "alice", "aud": "https://other.example.com"}"#).unwrap();
//! let start = Moment::now(&SystemClock);
//! let active = ActiveToken::new("https://as.example.com", claims, Method::Custom, start);
//!
//! let ours = Policy::new("https://api.example.com");
//! let refused = ours.admit(active.clone(), Scheme::Bearer).unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::WrongAudience);
//!
//! let theirs = Policy::new("https://other.example.com");
//! assert_eq!(theirs.admit(active, Scheme::Bearer).unwrap().subject(), Some("alice"));
//! ```

pub(crate) mod admit;
mod implied;
mod judge;
pub(crate) mod observe;
pub(crate) mod requirement;
pub(crate) mod verified;

use std::{sync::Arc, time::Duration};

use self::implied::ImpliedScopes;
pub use self::{
    admit::{Admission, Admitting, AdmittingFuture},
    observe::Observer,
    requirement::{Requirement, detail::DetailMatcher},
    verified::{Identity, VerifiedToken},
};
use crate::{
    claims::scope::Scope,
    clock::{Clock, SystemClock},
    proof::Proofs,
    respond::challenge::Challenge,
};

/// How far the clocks of issuers may be off, unless configured.
pub(crate) const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);

/// What this service asks of a token.
///
/// Holds what an issuer vouches for against, in this order: the issuer, whether the key that signed
/// it is still the issuer's, the kind of token, the time, the audience, the key the token is bound
/// to, and the requirements. See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Policy {
    audiences: Vec<Box<str>>,
    issuers: Option<Vec<Box<str>>>,
    clock: Arc<dyn Clock>,
    proofs: Proofs,
    terms: Arc<Terms>,
}

/// What a policy asks beyond the token being good, and what is needed of it after the token was let
/// in. Shared with every [`VerifiedToken`].
#[derive(Clone, Debug)]
struct Terms {
    leeway: Duration,
    requirements: Vec<Requirement>,
    observed: Vec<(Requirement, Observer)>,
    implied: ImpliedScopes,
    challenge: Arc<Challenge>,
}

impl Policy {
    /// Admits tokens meant for `audience`, the identifier of this service (RFC 8707 §2).
    ///
    /// The audience is mandatory: a token meant for another service must not open this one (RFC
    /// 9700 §2.3). An empty one admits nothing.
    #[must_use]
    pub fn new(audience: &str) -> Self {
        Self {
            audiences: vec![audience.into()],
            issuers: None,
            clock: Arc::new(SystemClock),
            proofs: Proofs::default(),
            terms: Arc::new(Terms {
                leeway: DEFAULT_LEEWAY,
                requirements: Vec::new(),
                observed: Vec::new(),
                implied: ImpliedScopes::default(),
                challenge: Arc::new(Challenge::new(audience)),
            }),
        }
    }

    /// Also admits tokens meant for `audience`.
    ///
    /// For a service that is known under several names. Each is compared exactly, so a form with
    /// and one without a trailing slash are two names.
    #[must_use]
    pub fn or_audience(mut self, audience: &str) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Admits only tokens that one of these issuers vouches for.
    ///
    /// A verifier only ever vouches for issuers it was configured with; this narrows them down
    /// where one verifier serves several policies.
    #[must_use]
    pub fn issuers<'a>(mut self, issuers: impl IntoIterator<Item = &'a str>) -> Self {
        self.issuers = Some(issuers.into_iter().map(Into::into).collect());
        self
    }

    /// Sets how far the clocks of issuers may be off from this one's. 30 s by default.
    ///
    /// # Security
    ///
    /// An expired token is accepted for this long (RFC 7519 §4.1.4: "usually no more than a few
    /// minutes"); it is cut to five minutes.
    #[must_use]
    pub fn leeway(self, leeway: Duration) -> Self {
        self.with(|terms| terms.leeway = leeway.min(Duration::from_secs(300)))
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Also asks this of every token. Requirements add up.
    #[must_use]
    pub fn require(self, requirement: Requirement) -> Self {
        self.with(|terms| terms.requirements.push(requirement))
    }

    /// Decides about this too, but only to tell what it would have refused. See [`Observer`].
    #[must_use]
    pub fn observe(self, requirement: Requirement, observer: &Observer) -> Self {
        let observer = observer.clone();
        self.with(|terms| terms.observed.push((requirement, observer)))
    }

    /// States that a token with the scope value `broad` may do whatever one with `narrow` may.
    ///
    /// Nothing is implied by how values are spelled. What implies `broad` implies `narrow` too.
    ///
    /// ```
    /// use tower_introspect::Policy;
    ///
    /// let policy = Policy::new("https://api.example.com")
    ///     .scope_implies("files", "files:read")
    ///     .scope_implies("files", "files:write");
    /// # let _ = policy;
    /// ```
    ///
    /// # Panics
    ///
    /// If either is no scope-token (RFC 6749 §3.3).
    #[must_use]
    pub fn scope_implies(self, broad: &str, narrow: &str) -> Self {
        self.with(|terms| terms.implied.imply(broad, narrow))
    }

    /// Sets what clients are told when they are refused. By default the audience is the realm.
    #[must_use]
    pub fn challenge(self, challenge: Challenge) -> Self {
        let challenge = self.proofs.announce(challenge);
        self.with(|terms| terms.challenge = Arc::new(challenge))
    }

    /// Admits tokens that are bound to a key by DPoP, with a proof for each request (RFC 9449).
    ///
    /// Without this, such tokens are refused. Bearer tokens are still admitted, unless
    /// [`require_binding`](Self::require_binding) is set. See [`Dpop`](crate::proof::Dpop).
    #[cfg(all(feature = "dpop", feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
    #[must_use]
    pub fn dpop(mut self, dpop: crate::proof::dpop::Dpop) -> Self {
        self.proofs.dpop = Some(dpop);
        self.announced()
    }

    /// Admits tokens that are bound to a client certificate, with that certificate (RFC 8705 §3).
    ///
    /// Without this, such tokens are refused. Others are still admitted, with a certificate and without,
    /// unless [`require_binding`](Self::require_binding) is set. See [`Mtls`](crate::proof::Mtls).
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "mtls")))]
    #[must_use]
    pub fn mtls(mut self, mtls: crate::proof::mtls::Mtls) -> Self {
        self.proofs.mtls = Some(mtls);
        self.announced()
    }

    /// Refuses tokens that are bound to no key: a stolen token is then useless by itself.
    ///
    /// ```
    /// use tower_introspect::{Policy, proof::Dpop};
    ///
    /// let policy = Policy::new("https://api.example.com")
    ///     .dpop(Dpop::new("https://api.example.com")?)
    ///     .require_binding();
    /// # let _ = policy;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    #[must_use]
    pub fn require_binding(mut self) -> Self {
        self.proofs.required = true;
        self.announced()
    }

    /// Asks what the FAPI 2.0 Security Profile does of a resource server (§5.3.4, §5.4.1): that tokens
    /// are bound to a key, and that they and their proofs are signed by PS256, ES256 or EdDSA.
    ///
    /// How an introspected token is signed is not known here, and up to its authorization server.
    #[cfg(all(any(feature = "dpop", feature = "mtls"), feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "dpop", feature = "mtls"))))]
    #[must_use]
    pub fn fapi2(mut self) -> Self {
        self.proofs.fapi2 = true;
        self.require_binding()
    }

    /// Names, in challenges, the document that describes this service (RFC 9728 §5.1).
    #[must_use]
    pub fn resource_metadata(self, url: &str) -> Self {
        let challenge = Challenge::clone(&self.terms.challenge);
        self.challenge(challenge.resource_metadata(url))
    }

    /// Names, in challenges, the scope that clients without a token should ask for.
    #[must_use]
    pub fn advertise_scope(self, scope: &str) -> Self {
        let challenge = Challenge::clone(&self.terms.challenge);
        self.challenge(challenge.scope(Scope::parse(scope)))
    }

    /// What can be proven here, and what must.
    pub(crate) const fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    pub(crate) fn challenges(&self) -> &Arc<Challenge> {
        &self.terms.challenge
    }

    /// Tells clients which schemes are spoken now.
    fn announced(self) -> Self {
        let challenge = Challenge::clone(&self.terms.challenge);
        self.challenge(challenge)
    }

    fn with(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(Arc::make_mut(&mut self.terms));
        self
    }

    /// Whether a token for `audience` may be admitted.
    pub(crate) fn is_for(&self, audience: &str) -> bool {
        self.audiences.iter().any(|name| **name == *audience)
    }

    /// Whether a token of `issuer` may be admitted.
    pub(crate) fn trusts(&self, issuer: &str) -> bool {
        self.check_issuer(issuer).is_ok()
    }
}

/// What a token is bound to.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        claims::Claims,
        clock::{Moment, tests::At},
        credentials::Scheme,
        error::kind::{ErrorKind, TokenKind},
        verify::active::{ActiveToken, Method},
    };

    fn admit(policy: &Policy, claims: &str) -> Result<VerifiedToken, ErrorKind> {
        let claims = Claims::from_json(claims.as_bytes()).unwrap();
        let active = ActiveToken::new("https://as", claims, Method::Jwt, Moment::now(&At(1000)));
        policy.admit(active, Scheme::Bearer).map_err(|error| error.kind())
    }

    fn strict() -> Policy {
        Policy::new("A").leeway(Duration::ZERO).clock(At(1000))
    }

    fn outcome(policy: &Policy, claims: &str) -> Option<ErrorKind> {
        admit(policy, claims).err()
    }

    #[test]
    fn rfc7519_4_1_4_exp_is_exclusive() {
        let leeway = strict().leeway(Duration::from_secs(30));
        for (policy, exp, refused) in [
            (strict(), "1000", true),
            (strict(), "1001", false),
            (strict(), "1000.5", false),
            (strict(), "999.9", true),
            (leeway.clone(), "970", true),
            (leeway.clone(), "971", false),
            (strict(), "-1", true),
            (strict(), "-9223372036854775808", true),
            (strict(), "9223372036854775807", false),
            (strict(), "1e308", false),
            (leeway, "1e308", false),
        ] {
            let claims = format!("{{\"aud\":\"A\",\"exp\":{exp}}}");
            assert_eq!(outcome(&policy, &claims), refused.then_some(ErrorKind::Expired), "{exp}");
        }
    }

    #[test]
    fn rfc7519_4_1_5_nbf_is_inclusive() {
        for (nbf, refused) in [("1000", false), ("1001", true), ("1.5", false), ("1e300", true)] {
            let claims = format!("{{\"aud\":\"A\",\"nbf\":{nbf}}}");
            assert_eq!(
                outcome(&strict(), &claims),
                refused.then_some(ErrorKind::NotYetValid),
                "{nbf}"
            );
        }
        let leeway = strict().leeway(Duration::from_secs(30));
        assert_eq!(outcome(&leeway, r#"{"aud":"A","nbf":1030}"#), None);
        assert_eq!(outcome(&leeway, r#"{"aud":"A","nbf":1031}"#), Some(ErrorKind::NotYetValid));
    }

    #[test]
    fn iat_in_the_future_is_refused_beyond_the_leeway() {
        let policy = strict().leeway(Duration::from_secs(30));
        assert_eq!(outcome(&policy, r#"{"aud":"A","iat":1010}"#), None);
        assert_eq!(outcome(&policy, r#"{"aud":"A","iat":4600}"#), Some(ErrorKind::NotYetValid));
    }

    #[test]
    fn rfc7519_4_1_4_leeway_is_at_most_a_few_minutes() {
        let policy = strict().leeway(Duration::from_secs(u64::MAX));
        assert_eq!(outcome(&policy, r#"{"aud":"A","exp":700}"#), Some(ErrorKind::Expired));
        assert_eq!(outcome(&policy, r#"{"aud":"A","exp":701}"#), None);
    }

    #[test]
    fn rfc9700_2_3_the_audience_is_always_checked() {
        for claims in ["{}", r#"{"aud":[]}"#, r#"{"aud":"B"}"#, r#"{"aud":"a"}"#, r#"{"aud":"A/"}"#]
        {
            assert_eq!(outcome(&strict(), claims), Some(ErrorKind::WrongAudience), "{claims}");
        }
        assert_eq!(outcome(&strict().or_audience("B"), r#"{"aud":["C","B"]}"#), None);
        assert_eq!(outcome(&Policy::new(""), r#"{"aud":""}"#), Some(ErrorKind::WrongAudience));
    }

    #[test]
    fn rfc6750_3_1_authentication_is_judged_before_authorization() {
        let policy = strict().require(Requirement::all_scopes(["read"]));
        let expired = r#"{"aud":"A","exp":1,"scope":""}"#;
        assert_eq!(outcome(&policy, expired), Some(ErrorKind::Expired));
        assert_eq!(outcome(&policy, r#"{"aud":"B"}"#), Some(ErrorKind::WrongAudience));
        assert_eq!(outcome(&policy, r#"{"aud":"A"}"#), Some(ErrorKind::InsufficientScope));
        assert_eq!(outcome(&policy, r#"{"aud":"A","scope":"read"}"#), None);
    }

    #[test]
    fn rfc8705_3_rfc9449_7_2_bound_tokens_are_no_bearer_tokens() {
        for extra in [
            r#""cnf":{"jkt":"x"}"#,
            r#""cnf":{"x5t#S256":"x"}"#,
            r#""cnf":{"unknown":"x"}"#,
            r#""cnf":{}"#,
            r#""token_type":"dpop""#,
        ] {
            let claims = format!("{{\"aud\":\"A\",{extra}}}");
            assert_eq!(outcome(&strict(), &claims), Some(ErrorKind::UnprovenPossession), "{extra}");
        }
        assert_eq!(outcome(&strict(), r#"{"aud":"A","token_type":"bearer"}"#), None);
    }

    #[test]
    fn rfc9449_7_1_unbound_token_under_dpop_is_refused() {
        let claims = Claims::from_json(br#"{"aud":"A"}"#).unwrap();
        let active = ActiveToken::new("https://as", claims, Method::Jwt, Moment::now(&At(1000)));
        let refused = strict().admit(active, Scheme::Dpop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnprovenPossession);
    }

    #[test]
    fn refresh_tokens_are_refused_whoever_vouches() {
        for extra in [r#""token_type":"refresh_token""#, r#""token_use":"refresh""#] {
            let claims = format!("{{\"aud\":\"A\",{extra}}}");
            let kind = ErrorKind::WrongTokenKind(TokenKind::Refresh);
            assert_eq!(outcome(&strict(), &claims), Some(kind), "{extra}");
        }
    }

    #[test]
    fn issuers_narrow_down() {
        let claims = r#"{"aud":"A"}"#;
        assert_eq!(outcome(&strict().issuers(["https://as"]), claims), None);
        assert_eq!(
            outcome(&strict().issuers(["https://as/"]), claims),
            Some(ErrorKind::WrongIssuer)
        );
        assert_eq!(outcome(&strict().issuers([]), claims), Some(ErrorKind::WrongIssuer));
    }
}
