//! The settings of a policy.

use std::{sync::Arc, time::Duration};

use super::{
    implied_scopes::ImpliedScopes,
    observer::Observer,
    verified_token::{Requirement, Terms},
};
use crate::{
    clock::{Clock, Moment, SystemClock},
    proof::{proof_config::ProofConfig, replay::store::ReplayStore},
    respond::{challenge::Challenge, hook::RefusalHook},
    revocation::revocations::Revocations,
};

/// The default for how far the clocks of issuers may be off.
pub(crate) const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);

/// The requirements that this service places on a token.
///
/// A policy checks, in this order: the issuer, that the key which signed the token still belongs to
/// the issuer, the algorithm (FAPI 2.0 only), the kind of token, the time, the lifetime (if it is
/// limited), the audience, the key that the token is bound to, and the requirements. See the
/// [module docs](super) for an example.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) audiences: Vec<Box<str>>,
    pub(super) issuers: Option<Vec<Box<str>>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) proofs: ProofConfig,
    pub(super) revocations: Option<Revocations>,
    pub(super) terms: Arc<Terms>,
}

impl Policy {
    /// Creates a policy that admits tokens for `audience`, the identifier of this service (RFC 8707
    /// §2).
    ///
    /// # Security
    ///
    /// The audience is mandatory: a token for another service must not open this one (RFC 9700
    /// §2.3). An empty audience admits nothing.
    #[must_use]
    pub fn new(audience: &str) -> Self {
        Self {
            audiences: vec![audience.into()],
            issuers: None,
            clock: Arc::new(SystemClock),
            proofs: ProofConfig::default(),
            revocations: None,
            terms: Arc::new(Terms {
                leeway: DEFAULT_LEEWAY,
                max_token_lifetime: None,
                requirements: Vec::new(),
                observed: Vec::new(),
                implied: ImpliedScopes::default(),
                challenge: Arc::new(Challenge::new(audience)),
                hook: None,
            }),
        }
    }

    /// Also admits tokens for `audience`.
    ///
    /// Use it for a service with several names. Each is compared exactly, so forms with and without
    /// a trailing slash are two names.
    #[must_use]
    pub fn or_audience(mut self, audience: &str) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Admits only tokens of these issuers.
    ///
    /// A verifier vouches only for the issuers it was configured with. This method narrows them
    /// down if several policies share a verifier.
    #[must_use]
    pub fn issuers<'a>(mut self, issuers: impl IntoIterator<Item = &'a str>) -> Self {
        self.issuers = Some(issuers.into_iter().map(Into::into).collect());
        self
    }

    /// Sets how far the clocks of issuers may differ from the clock of this service.
    ///
    /// The default is 30 s. The leeway is capped at five minutes.
    ///
    /// # Security
    ///
    /// An expired token is accepted for this long (RFC 7519 §4.1.4: "usually no more than a few
    /// minutes").
    #[must_use]
    pub fn leeway(self, leeway: Duration) -> Self {
        self.with(|terms| terms.leeway = leeway.min(Duration::from_secs(300)))
    }

    pub(crate) fn leeway_of_clocks(&self) -> Duration {
        self.terms.leeway
    }

    /// Reads the clock.
    pub(crate) fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Adds a requirement that every token must meet.
    ///
    /// Requirements add up. There are [others for routes and
    /// handlers](crate::docs::layers#which-requirement-to-write).
    #[must_use]
    pub fn require(self, requirement: Requirement) -> Self {
        self.with(|terms| terms.requirements.push(requirement))
    }

    /// Adds a requirement that is evaluated but not enforced. See [`Observer`].
    #[must_use]
    pub fn observe(self, requirement: Requirement, observer: &Observer) -> Self {
        let observer = observer.clone();
        self.with(|terms| terms.observed.push((requirement, observer)))
    }

    /// Declares that the scope value `broad` implies `narrow`: a token with `broad` passes where
    /// `narrow` is required.
    ///
    /// Implication is transitive, and is never derived from how values are spelled.
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
    /// If either is not a scope-token (RFC 6749 §3.3).
    #[must_use]
    pub fn scope_implies(self, broad: &str, narrow: &str) -> Self {
        self.with(|terms| terms.implied.imply(broad, narrow))
    }

    /// Admits tokens that are bound to a key by DPoP, with a proof for each request (RFC 9449).
    ///
    /// Without this, such tokens are refused. Bearer tokens are still admitted, unless
    /// [`require_binding`](Self::require_binding) is set. See [`Dpop`](crate::proof::Dpop).
    #[cfg(feature = "dpop")]
    #[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
    #[must_use]
    pub fn dpop(mut self, dpop: crate::proof::dpop::settings::Dpop) -> Self {
        self.proofs.dpop = Some(dpop);
        self.with_announced_schemes()
    }

    /// Sets the store of used proofs, unless the application set one.
    pub(crate) fn default_replay_store(mut self, store: &Arc<dyn ReplayStore>) -> Self {
        #[cfg(feature = "dpop")]
        if let Some(dpop) = self.proofs.dpop.take() {
            self.proofs.dpop = Some(dpop.default_replay_store(Arc::clone(store)));
        }
        #[cfg(not(feature = "dpop"))]
        let _ = (&mut self, store);
        self
    }

    /// Admits tokens that are bound to a client certificate, with that certificate (RFC 8705 §3).
    ///
    /// Without this, such tokens are refused. Other tokens are still admitted, with or without a
    /// certificate, unless [`require_binding`](Self::require_binding) is set. See
    /// [`Mtls`](crate::proof::Mtls).
    #[cfg(feature = "mtls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "mtls")))]
    #[must_use]
    pub fn mtls(mut self, mtls: crate::proof::mtls::settings::Mtls) -> Self {
        self.proofs.mtls = Some(mtls);
        self.with_announced_schemes()
    }

    /// Refuses tokens that are bound to no key, so that a stolen token alone is useless.
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
        self.with_announced_schemes()
    }

    /// Enforces the rules of the FAPI 2.0 Security Profile for resource servers (§5.3.4, §5.4.1).
    ///
    /// Tokens must be bound to a key, and tokens and proofs must be signed with PS256, ES256 or
    /// EdDSA. JWTs must have the type `at+jwt`
    /// ([`Profile::Rfc9068`](crate::jwt::Profile::Rfc9068), which a
    /// [`ResourceServer`](crate::ResourceServer) then has by default). The signature and the type of
    /// an introspected token are not known here; its authorization server is responsible for them.
    #[cfg(all(any(feature = "dpop", feature = "mtls"), feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "dpop", feature = "mtls"))))]
    #[must_use]
    pub fn fapi2(mut self) -> Self {
        self.proofs.fapi2 = true;
        self.require_binding()
    }

    /// Sets the hook that is called for each refusal.
    pub(crate) fn refusal_hook(self, hook: RefusalHook) -> Self {
        self.with(|terms| terms.hook = Some(hook))
    }

    pub(crate) fn hook(&self) -> Option<&RefusalHook> {
        self.terms.hook.as_ref()
    }

    /// Returns the kinds of proof that are configured and required.
    pub(crate) const fn proofs(&self) -> &ProofConfig {
        &self.proofs
    }

    pub(crate) fn challenges(&self) -> &Arc<Challenge> {
        &self.terms.challenge
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(Arc::make_mut(&mut self.terms));
        self
    }

    /// Returns true if a token for `audience` may be admitted.
    pub(crate) fn is_for(&self, audience: &str) -> bool {
        self.audiences.iter().any(|name| **name == *audience)
    }

    /// Returns true if a token of `issuer` may be admitted.
    pub(crate) fn trusts(&self, issuer: &str) -> bool {
        self.check_issuer(issuer).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        claims::claims_set::Claims,
        clock::{Moment, tests::FixedClock},
        credentials::token::Scheme,
        error::kind::{ErrorKind, TokenKind},
        policy::verified_token::VerifiedToken,
        verify::active::{ActiveToken, Method},
    };

    fn admit(policy: &Policy, claims: &str) -> Result<VerifiedToken, ErrorKind> {
        let claims = Claims::from_json(claims.as_bytes()).unwrap();
        let active =
            ActiveToken::new("https://as", claims, Method::Jwt, Moment::now(&FixedClock(1000)));
        policy.admit(active, Scheme::Bearer).map_err(|error| error.kind())
    }

    fn strict() -> Policy {
        Policy::new("A").leeway(Duration::ZERO).clock(FixedClock(1000))
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
        for claims in [r#"{"aud":[]}"#, r#"{"aud":"B"}"#, r#"{"aud":"a"}"#, r#"{"aud":"A/"}"#] {
            assert_eq!(outcome(&strict(), claims), Some(ErrorKind::WrongAudience), "{claims}");
        }
        assert_eq!(outcome(&strict(), "{}"), Some(ErrorKind::MissingClaim("aud")));
        assert_eq!(outcome(&strict().or_audience("B"), r#"{"aud":["C","B"]}"#), None);
        assert_eq!(outcome(&Policy::new(""), r#"{"aud":""}"#), Some(ErrorKind::WrongAudience));
    }

    #[test]
    fn rfc6750_3_1_invalid_token_is_reported_before_insufficient_scope() {
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
        let active =
            ActiveToken::new("https://as", claims, Method::Jwt, Moment::now(&FixedClock(1000)));
        let refused = strict().admit(active, Scheme::Dpop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnprovenPossession);
    }

    #[test]
    fn refresh_tokens_are_refused_by_every_policy() {
        for extra in [r#""token_type":"refresh_token""#, r#""token_use":"refresh""#] {
            let claims = format!("{{\"aud\":\"A\",{extra}}}");
            let kind = ErrorKind::WrongTokenKind(TokenKind::Refresh);
            assert_eq!(outcome(&strict(), &claims), Some(kind), "{extra}");
        }
    }

    #[test]
    fn allowed_issuers_refuse_all_others() {
        let claims = r#"{"aud":"A"}"#;
        assert_eq!(outcome(&strict().issuers(["https://as"]), claims), None);
        assert_eq!(
            outcome(&strict().issuers(["https://as/"]), claims),
            Some(ErrorKind::WrongIssuer)
        );
        assert_eq!(outcome(&strict().issuers([]), claims), Some(ErrorKind::WrongIssuer));
    }
}
