//! Checks the binding of a token: each known member of `cnf` must be satisfied.

use http::Request;

#[cfg(feature = "dpop")]
use super::dpop::settings::Dpop;
#[cfg(feature = "mtls")]
use super::mtls::settings::Mtls;
use super::{
    presented::{Presented, refuse},
    shown::Shown,
};
use crate::{
    claims::claims_set::Claims, clock::Moment, credentials::token::Scheme,
    error::refusal::VerifyError, respond::challenge::Challenge,
};

/// The kinds of proof that are configured, and those that are required.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    #[cfg(feature = "dpop")]
    pub(crate) dpop: Option<Dpop>,
    #[cfg(feature = "mtls")]
    pub(crate) mtls: Option<Mtls>,
    /// Refuses tokens that are bound to no key.
    pub(crate) required: bool,
    /// Accepts only the algorithms of [`FAPI2`].
    pub(crate) fapi2: bool,
}

impl Proofs {
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
    ) -> Result<Option<Box<Shown>>, VerifyError> {
        let (jkt, certificate) = match claims.confirmation() {
            Some(bound) => match (bound.jkt(), bound.x5t_s256()) {
                (None, None) => return refuse("the token is bound in no way that is known here"),
                known => known,
            },
            None => (None, None),
        };
        let by_type = claims.call_it_bound();
        match (scheme, jkt) {
            (Scheme::Bearer, Some(_)) => {
                return refuse("a DPoP-bound token came as a bearer token");
            }
            (Scheme::Dpop, None) => return refuse("the token is not DPoP-bound"),
            (_, None) if by_type => return refuse("a DPoP token without the key it is bound to"),
            (Scheme::Bearer, None) if certificate.is_none() && self.required => {
                return refuse("the token is bound to no key, and must be");
            }
            _ => {}
        }
        if jkt.is_none() && certificate.is_none() {
            return Ok(None);
        }
        // The certificate comes first: comparing it is cheap and marks no proof as used.
        let mut shown = Box::<Shown>::default();
        if let Some(thumbprint) = certificate {
            self.check_certificate(thumbprint, presented, &mut shown)?;
        }
        if let Some(jkt) = jkt {
            self.check_dpop(jkt, presented, now, &mut shown)?;
        }
        Ok(Some(shown))
    }

    /// Returns true if tokens must be bound, but no kind of proof is configured.
    #[cfg(feature = "config")]
    pub(crate) const fn ask_the_impossible(&self) -> bool {
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
    #[expect(clippy::unused_self, reason = "with the feature there is something to take off")]
    pub(crate) const fn strip<B>(&self, _: &mut Request<B>) {}

    /// Removes these headers from every sender, for requests whose sender is not known.
    #[cfg(feature = "mtls")]
    pub(crate) fn strip_all(&self, headers: &mut http::HeaderMap) {
        if self.mtls.is_some() {
            Mtls::strip_all(headers);
        }
    }

    #[cfg(not(feature = "mtls"))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to take off")]
    pub(crate) const fn strip_all(&self, _: &mut http::HeaderMap) {}

    /// Adds the accepted schemes to the challenge.
    #[cfg(feature = "dpop")]
    pub(crate) fn announce(&self, challenge: Challenge) -> Challenge {
        let Some(dpop) = &self.dpop else { return challenge };
        let challenge = challenge.dpop(dpop.names(self.fapi2));
        // Without certificates, a required binding leaves no token that `Bearer` could carry.
        challenge.with_bearer(!self.required || self.takes_certificates())
    }

    #[cfg(not(feature = "dpop"))]
    #[expect(clippy::unused_self, reason = "with the feature there is another scheme")]
    pub(crate) const fn announce(&self, challenge: Challenge) -> Challenge {
        challenge
    }

    /// Returns true if tokens can be bound to a certificate.
    #[cfg(feature = "mtls")]
    pub(crate) const fn takes_certificates(&self) -> bool {
        self.mtls.is_some()
    }

    #[cfg(not(feature = "mtls"))]
    #[expect(clippy::unused_self, reason = "with the feature they can")]
    pub(crate) const fn takes_certificates(&self) -> bool {
        false
    }

    #[cfg(feature = "mtls")]
    fn check_certificate(
        &self,
        thumbprint: &str,
        presented: Option<&Presented<'_>>,
        shown: &mut Shown,
    ) -> Result<(), VerifyError> {
        match (&self.mtls, presented) {
            (Some(mtls), Some(presented)) => {
                shown.left.believed = mtls.check(thumbprint, presented)?;
                Ok(())
            }
            _ => refuse("the token is bound to a certificate, of which none is looked for"),
        }
    }

    #[cfg(not(feature = "mtls"))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to look for")]
    fn check_certificate(
        &self,
        _: &str,
        _: Option<&Presented<'_>>,
        _: &mut Shown,
    ) -> Result<(), VerifyError> {
        refuse("the token is bound to a certificate, of which none is looked for")
    }

    #[cfg(feature = "dpop")]
    fn check_dpop(
        &self,
        jkt: &str,
        presented: Option<&Presented<'_>>,
        now: Moment,
        shown: &mut Shown,
    ) -> Result<(), VerifyError> {
        match (&self.dpop, presented) {
            (Some(dpop), Some(presented)) => dpop.check(jkt, presented, self.fapi2, now, shown),
            _ => refuse("the token is bound to a key, of which no proof is looked at"),
        }
    }

    #[cfg(not(feature = "dpop"))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to look at")]
    fn check_dpop(
        &self,
        _: &str,
        _: Option<&Presented<'_>>,
        _: Moment,
        _: &mut Shown,
    ) -> Result<(), VerifyError> {
        refuse("the token is bound to a key, of which no proof is looked at")
    }
}
