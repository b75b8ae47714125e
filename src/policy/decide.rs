//! Decides about one token.

use std::{sync::Arc, time::Duration};

use super::{
    advice::{tell_no_scope, tell_refresh, tell_untyped},
    replay_check::{Admitting, Decision},
    settings::Policy,
    verified_token::{Requirement, VerifiedToken},
};
use crate::{
    checks::{
        check::Check,
        detail::{Detail, list, seen, seen_if, seen_time},
        record::{demand, record},
    },
    claims::claims_set::{Claims, FOR_NOBODY},
    clock::{Moment, UnixTime},
    credentials::token::Scheme,
    error::{
        kind::{ErrorKind, TokenKind},
        refusal::VerifyError,
    },
    proof::presented::Presented,
    verify::active::ActiveToken,
};

impl Policy {
    /// Decides about a token that was presented under `scheme`, without its request.
    ///
    /// A token that is bound to a key is refused, because there is no proof to check. An
    /// [`IntrospectLayer`](crate::IntrospectLayer) checks proofs.
    ///
    /// # Errors
    ///
    /// If a check of this policy fails. Authentication is judged before authorization: an expired
    /// token that also lacks scope is refused as expired.
    pub fn admit(&self, active: ActiveToken, scheme: Scheme) -> Result<VerifiedToken, VerifyError> {
        // Without a request there is no proof, so the replay check cannot be pending.
        let mut token = self.decide(active, scheme, None)?.verdict?;
        token.observe_all();
        Ok(token)
    }

    /// Decides about a token that was presented with a request, including its proof of possession.
    ///
    /// The replay check comes last, after everything else that would be refused with 401. So no
    /// refusal uses up the proof of another request, and a bad proof is never refused with 403. The
    /// decision may be pending if the replay check calls a shared store. The cost beyond
    /// [`admit`](Self::admit) is one signature verification, and only for a good token and a proof
    /// that is signed by the key it is bound to.
    #[inline]
    pub(crate) fn admit_presented(
        &self,
        active: ActiveToken,
        presented: &Presented<'_>,
    ) -> Admitting {
        match self.decide(active, presented.scheme(), Some(presented)) {
            Ok(decision) => decision.check_replay(),
            Err(error) => Admitting::done(Err(error)),
        }
    }

    fn decide(
        &self,
        active: ActiveToken,
        scheme: Scheme,
        presented: Option<&Presented<'_>>,
    ) -> Result<Decision, VerifyError> {
        let now = Moment::now(&*self.clock);
        self.check_facts(&active, now)?;
        let proof = self.proofs.check(active.claims(), scheme, presented, now);
        let proof = record(Check::Possession, || binding_detail(active.claims()), proof)?;
        let age = now.since(active.verified_at());
        let token = VerifiedToken::new(active, scheme, age, now.wall(), Arc::clone(&self.terms));
        let verdict = Requirement::check_all(&self.terms.requirements, &token);
        let verdict = record(Check::Requirements, || self.requirements_detail(&token), verdict);
        match (&verdict, &self.revocations) {
            (Err(error), _) => tell_no_scope(&token, error),
            (Ok(()), Some(revocations)) => revocations.note_admitted(&token.active),
            (Ok(()), None) => {}
        }
        Ok(Decision { verdict: verdict.map(|()| token), proof })
    }

    /// Decides again about the token of a request that was admitted at `admitted_at`, and whose
    /// response is still open.
    ///
    /// Everything that depends on the facts is judged anew. The age of the facts and of the login were
    /// judged when the request was admitted, and so was the proof of possession: there is no new one.
    /// The caller checks that the token is bound to the same key.
    pub(crate) fn admit_again(
        &self,
        active: ActiveToken,
        scheme: Scheme,
        admitted_at: UnixTime,
    ) -> Result<VerifiedToken, VerifyError> {
        let now = Moment::now(&*self.clock);
        self.check_facts(&active, now)?;
        // After another login, as by a renewal, the age counts from that.
        let login = active.claims().time("auth_time").ok().flatten();
        let admitted_at = login.map_or(admitted_at, |at| at.min(now.wall()).max(admitted_at));
        let terms = Arc::clone(&self.terms);
        let token = VerifiedToken::new(active, scheme, Duration::ZERO, admitted_at, terms);
        Requirement::check_all(&self.terms.requirements, &token)?;
        Ok(token)
    }

    /// Returns the token as a request would be admitted with now: with the age of its facts, and the
    /// time against which the age of the login counts.
    pub(crate) fn as_of_now(&self, token: VerifiedToken) -> VerifiedToken {
        let now = Moment::now(&*self.clock);
        let age = now.since(token.active.verified_at());
        let scheme = token.scheme();
        VerifiedToken::new(token.active, scheme, age, now.wall(), token.terms)
    }

    /// Checks the facts about a token, but for the key it is bound to.
    fn check_facts(&self, active: &ActiveToken, now: Moment) -> Result<(), VerifyError> {
        if !self.clock.can_be_right(now.wall()) {
            return Err(VerifyError::new(ErrorKind::ClockWrong)
                .with_context("the clock shows a time before this crate was released"));
        }
        let claims = active.claims();
        record(Check::Trusted, || seen(active.issuer()), self.check_issuer(active.issuer()))?;
        // The key may have been removed since the facts were cached.
        demand(Check::KeyInUse, Detail::default, !active.is_retired(), ErrorKind::UnknownKey)?;
        if let Err(weak) = self.check_fapi2(active) {
            // Recorded only on failure: without FAPI 2.0 there is no such check.
            let (check, wanted) = match weak {
                ErrorKind::UnsupportedAlgorithm => (Check::Algorithm, "one of FAPI 2.0"),
                _ => (Check::Type, "at+jwt"),
            };
            tell_untyped(active, weak);
            record(check, || Detail::default().wanted(wanted), Err::<(), _>(weak))?;
        }
        record(Check::NoRefreshToken, || kind_detail(claims), check_kind(claims))
            .inspect_err(|refused| tell_refresh(active, *refused))?;
        self.check_time(claims, now.wall())?;
        self.check_lifetime(claims)?;
        let audiences = || {
            let named = list(claims.audience().iter());
            seen_if(Some(named).filter(|named| !named.is_empty())).wanted(list(&self.audiences))
        };
        record(Check::Audience, audiences, self.check_audience(claims))
    }

    pub(super) fn check_issuer(&self, issuer: &str) -> Result<(), ErrorKind> {
        match &self.issuers {
            Some(admitted) if !admitted.iter().any(|name| **name == *issuer) => {
                Err(ErrorKind::WrongIssuer)
            }
            _ => Ok(()),
        }
    }

    /// Refuses a JWT by an algorithm that FAPI 2.0 does not allow, or of another type than `at+jwt`,
    /// if this policy follows FAPI 2.0.
    ///
    /// A verifier may allow more than this policy.
    #[cfg(feature = "jwt")]
    fn check_fapi2(&self, active: &ActiveToken) -> Result<(), ErrorKind> {
        match active.signed_by().filter(|_| self.proofs.fapi2) {
            Some(by) if !crate::proof::presented::FAPI2.contains(&by.algorithm) => {
                Err(ErrorKind::UnsupportedAlgorithm)
            }
            Some(by) if !by.typed => Err(ErrorKind::WrongTokenKind(TokenKind::Other)),
            _ => Ok(()),
        }
    }

    #[cfg(not(feature = "jwt"))]
    #[expect(clippy::unused_self, reason = "without local verification there is none to see")]
    const fn check_fapi2(&self, _: &ActiveToken) -> Result<(), ErrorKind> {
        Ok(())
    }

    /// Checks that the token is valid: from `nbf` on, until just before `exp` (RFC 7519 §4.1.4,
    /// §4.1.5).
    fn check_time(&self, claims: &Claims, now: UnixTime) -> Result<(), ErrorKind> {
        let leeway = || format!("with a leeway of {} s", self.terms.leeway.as_secs());
        let expiry = claims.expires_at();
        let is_valid = expiry.is_none_or(|exp| now < exp.saturating_add(self.terms.leeway));
        let later = || seen_time(expiry).wanted(format_args!("later than now, {}", leeway()));
        demand(Check::Expiry, later, is_valid, ErrorKind::Expired)?;
        let soon = now.saturating_add(self.terms.leeway);
        // RFC 7519 does not make an `iat` in the future a reason for refusal. Here it is one:
        // otherwise the token would survive a revocation of everything issued until now.
        let latest = claims.not_before().max(claims.issued_at());
        let started = latest.is_none_or(|start| start <= soon);
        let past = || seen_time(latest).wanted(format_args!("not later than now, {}", leeway()));
        demand(Check::Start, past, started, ErrorKind::NotYetValid)
    }

    /// Describes the requirements and the scope of the token, for a trace.
    fn requirements_detail(&self, token: &VerifiedToken) -> Detail {
        let wanted = list(self.terms.requirements.iter().map(Requirement::describe));
        let scope = token.claims().scope();
        let detail = seen_if((!scope.is_empty()).then(|| format!("scope {scope}")));
        if wanted.is_empty() { detail.wanted("nothing more") } else { detail.wanted(wanted) }
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), VerifyError> {
        let named =
            self.audiences.iter().any(|name| !name.is_empty() && claims.audience().contains(name));
        if named {
            return Ok(());
        }
        match claims.require_audience() {
            Ok(()) => Err(ErrorKind::WrongAudience.into()),
            Err(kind @ ErrorKind::WrongAudience) => {
                Err(VerifyError::new(kind).with_context(FOR_NOBODY))
            }
            Err(kind) => Err(kind.into()),
        }
    }
}

/// Refuses a token whose claims say that it is a refresh token.
///
/// Real authorization servers introspect refresh tokens as active.
fn check_kind(claims: &Claims) -> Result<(), ErrorKind> {
    let says_refresh = claims.declares_refresh_token();
    if says_refresh { Err(ErrorKind::WrongTokenKind(TokenKind::Refresh)) } else { Ok(()) }
}

/// Describes the words for the kind of the token.
fn kind_detail(claims: &Claims) -> Detail {
    let word = |name: &str| Some(format!("{name} {}", claims.raw(name)?));
    let words: Vec<_> = ["token_type", "token_use"].into_iter().filter_map(word).collect();
    seen_if((!words.is_empty()).then(|| list(words)))
}

fn binding_detail(claims: &Claims) -> Detail {
    seen_if(claims.raw("cnf")).wanted("no binding, or proof of it")
}
