//! Checks the binding of a token: each known member of `cnf` must be satisfied.

use http::Request;

#[cfg(feature = "dpop")]
use super::dpop::settings::Dpop;
#[cfg(feature = "mtls")]
use super::mtls::settings::Mtls;
use super::{
    effects::ProofResult,
    presented::{Presented, unproven},
};
use crate::{
    claims::claims_set::Claims, clock::Moment, credentials::token::Scheme,
    error::refusal::VerifyError, respond::challenge::Challenge,
};

/// The kinds of proof that are configured, and those that are required.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProofConfig {
    #[cfg(feature = "dpop")]
    pub(crate) dpop: Option<Dpop>,
    #[cfg(feature = "mtls")]
    pub(crate) mtls: Option<Mtls>,
    /// Refuses tokens that are bound to no key.
    pub(crate) required: bool,
    /// Accepts only the algorithms of [`FAPI2`].
    pub(crate) fapi2: bool,
}

impl ProofConfig {
    /// Checks the binding of a token against the proof and certificate of the request.
    ///
    /// Without `presented`, there is no proof and no certificate. Returns `None` if the token is
    /// bound to no key and none is required.
    ///
    /// # Errors
    ///
    /// [`UnprovenPossession`](ErrorKind::UnprovenPossession) if binding and scheme do not match
    /// (RFC 8705 §3, RFC 9449 §7.1, §7.2) or the key is a different one; otherwise the error of the
    /// proof.
    pub(crate) fn check(
        &self,
        claims: &Claims,
        scheme: Scheme,
        presented: Option<&Presented<'_>>,
        now: Moment,
    ) -> Result<Option<Box<ProofResult>>, VerifyError> {
        let (jkt, certificate) = match claims.confirmation() {
            Some(bound) => match (bound.jkt(), bound.x5t_s256()) {
                (None, None) => {
                    return unproven(
                        "the token is bound only in ways that this service does not know",
                    );
                }
                known => known,
            },
            None => (None, None),
        };
        let is_dpop_type = claims.declares_dpop();
        match (scheme, jkt) {
            (Scheme::Bearer, Some(_)) => {
                return unproven("a DPoP-bound token came as a bearer token");
            }
            (Scheme::Dpop, None) => return unproven("the token is not DPoP-bound"),
            (_, None) if is_dpop_type => {
                return unproven("the token type is DPoP, but `cnf.jkt` is missing");
            }
            (Scheme::Bearer, None) if certificate.is_none() && self.required => {
                return unproven("the token must be bound to a key, but is not");
            }
            _ => {}
        }
        if jkt.is_none() && certificate.is_none() {
            return Ok(None);
        }
        // The certificate comes first: comparing it is cheap and marks no proof as used.
        let mut result = Box::<ProofResult>::default();
        if let Some(thumbprint) = certificate {
            self.check_certificate(thumbprint, presented, &mut result)?;
        }
        if let Some(jkt) = jkt {
            self.check_dpop(jkt, presented, now, &mut result)?;
        }
        Ok(Some(result))
    }

    /// Returns true if tokens must be bound, but no kind of proof is configured.
    #[cfg(feature = "config")]
    pub(crate) const fn requires_binding_without_proofs(&self) -> bool {
        #[cfg(feature = "dpop")]
        let proofs = self.dpop.is_some();
        #[cfg(not(feature = "dpop"))]
        let proofs = false;
        self.required && !proofs && !self.takes_certificates()
    }

    /// Removes the headers that name a client certificate before a request is passed on.
    #[cfg(feature = "mtls")]
    pub(crate) fn strip<B>(&self, request: &mut Request<B>) {
        if let Some(mtls) = &self.mtls {
            mtls.strip(request);
        }
    }

    #[cfg(not(feature = "mtls"))]
    #[expect(clippy::unused_self, reason = "only the feature has headers to remove")]
    pub(crate) const fn strip<B>(&self, _: &mut Request<B>) {}

    /// Removes these headers from every sender, for requests whose sender is not known.
    #[cfg(feature = "mtls")]
    pub(crate) fn strip_all(&self, headers: &mut http::HeaderMap) {
        if self.mtls.is_some() {
            Mtls::strip_all(headers);
        }
    }

    #[cfg(not(feature = "mtls"))]
    #[expect(clippy::unused_self, reason = "only the feature has headers to remove")]
    pub(crate) const fn strip_all(&self, _: &mut http::HeaderMap) {}

    /// Adds the accepted schemes to the challenge.
    #[cfg(feature = "dpop")]
    pub(crate) fn announce_schemes(&self, challenge: Challenge) -> Challenge {
        let Some(dpop) = &self.dpop else { return challenge };
        let challenge = challenge.dpop(dpop.algorithm_names(self.fapi2));
        // Without certificates, a required binding leaves no token that `Bearer` could carry.
        challenge.with_bearer(!self.required || self.takes_certificates())
    }

    #[cfg(not(feature = "dpop"))]
    #[expect(clippy::unused_self, reason = "only the feature has another scheme")]
    pub(crate) const fn announce_schemes(&self, challenge: Challenge) -> Challenge {
        challenge
    }

    /// Returns true if tokens can be bound to a certificate.
    #[cfg(feature = "mtls")]
    pub(crate) const fn takes_certificates(&self) -> bool {
        self.mtls.is_some()
    }

    #[cfg(not(feature = "mtls"))]
    #[expect(clippy::unused_self, reason = "only the feature takes certificates")]
    pub(crate) const fn takes_certificates(&self) -> bool {
        false
    }

    #[cfg_attr(
        not(feature = "mtls"),
        expect(
            unused_variables,
            clippy::unused_self,
            reason = "only `mtls` looks for certificates"
        )
    )]
    fn check_certificate(
        &self,
        thumbprint: &str,
        presented: Option<&Presented<'_>>,
        result: &mut ProofResult,
    ) -> Result<(), VerifyError> {
        #[cfg(feature = "mtls")]
        if let (Some(mtls), Some(presented)) = (&self.mtls, presented) {
            result.effects.forwarded_certificate = mtls.check(thumbprint, presented)?;
            return Ok(());
        }
        unproven("the token is bound to a certificate, but no certificate is checked here")
    }

    #[cfg_attr(
        not(feature = "dpop"),
        expect(unused_variables, clippy::unused_self, reason = "only `dpop` looks at proofs")
    )]
    fn check_dpop(
        &self,
        jkt: &str,
        presented: Option<&Presented<'_>>,
        now: Moment,
        result: &mut ProofResult,
    ) -> Result<(), VerifyError> {
        #[cfg(feature = "dpop")]
        if let (Some(dpop), Some(presented)) = (&self.dpop, presented) {
            return dpop.check(jkt, presented, self.fapi2, now, result);
        }
        unproven("the token is bound to a key, but no proof is checked here")
    }
}
