//! Proof of possession: admits a token that is bound to a key only together with that key.
//!
//! The issuer decides whether a token is bound to a key. It says so with `cnf` in the token or in
//! the introspection response (RFC 7800 §3.1). Every known member of `cnf` must be satisfied: `jkt`
//! by a DPoP proof ([`Dpop`], RFC 9449), `x5t#S256` by a client certificate ([`Mtls`], RFC 8705). A
//! token is refused if it is bound only in unknown ways, or in a way that is not configured. A
//! bound token is never treated as a bearer token.
//!
//! ```
//! use tower_introspect::{ErrorKind, IntrospectLayer, Policy, proof::Dpop, verify::verify_fn};
//!
//! let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
//! let policy = Policy::new("https://api.example.com").dpop(Dpop::new("https://api.example.com")?);
//! let layer = IntrospectLayer::new(closed, policy);
//! # let _ = layer;
//! # Ok::<(), tower_introspect::ConfigError>(())
//! ```
//!
//! [`docs::security`](crate::docs::security) lists the attacks that this prevents and those that it
//! does not.

#[cfg(all(feature = "dpop", feature = "_crypto"))]
pub(crate) mod dpop;
#[cfg(all(feature = "mtls", feature = "_crypto"))]
pub(crate) mod mtls;
pub(crate) mod replay;

use std::fmt;

use http::{HeaderName, HeaderValue, Request};

#[cfg(all(feature = "mtls", feature = "_crypto"))]
use self::mtls::Believed;
#[cfg(all(feature = "mtls", feature = "_crypto"))]
#[cfg_attr(docsrs, doc(cfg(feature = "mtls")))]
pub use self::mtls::{Mtls, certificate::PeerCertificate, field::CertificateField};
pub use self::replay::{Mark, Marked, Marking, ReplayStore};
use self::replay::{Pending, Proven};
#[cfg(all(feature = "dpop", feature = "_crypto"))]
#[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
pub use self::{
    dpop::{Dpop, nonce::NonceSecret},
    replay::memory::MemoryReplay,
};
#[cfg(all(feature = "_jose", feature = "_crypto"))]
use crate::jose;
#[cfg(all(feature = "dpop", feature = "_crypto"))]
#[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
pub use crate::jose::{
    algorithm::{Algorithm, UnknownAlgorithm},
    error::KeyError,
};
use crate::{
    claims::Claims,
    clock::Moment,
    credentials::{Scheme, Token},
    error::{kind::ErrorKind, refusal::VerifyError},
    respond::{RequestHead, challenge::Challenge},
};

/// The header that holds a DPoP proof (RFC 9449 §4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// How a token was presented: its scheme and the request it came with.
///
/// ```
/// use http::{HeaderMap, Method, Uri};
/// use tower_introspect::{
///     credentials::{Scheme, Token},
///     proof::Presented,
///     respond::RequestHead,
/// };
///
/// let (method, uri, headers) = (Method::GET, Uri::from_static("/"), HeaderMap::new());
/// let token = Token::bearer("abc").unwrap();
/// let presented = Presented::new(&token, RequestHead::new(&method, &uri, &headers));
/// assert_eq!(presented.scheme(), Scheme::Bearer);
/// ```
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    scheme: Scheme,
    head: RequestHead<'a>,
    token: Option<&'a Token>,
}

impl<'a> Presented<'a> {
    /// Creates it from a token and the head of the request that the token came with.
    #[must_use]
    pub fn new(token: &'a Token, head: RequestHead<'a>) -> Self {
        Self::under(token.scheme(), head, Some(token))
    }

    /// Creates it without the token where it is not needed: only a DPoP proof names the token.
    pub(crate) const fn under(
        scheme: Scheme,
        head: RequestHead<'a>,
        token: Option<&'a Token>,
    ) -> Self {
        Self { scheme, head, token }
    }

    /// Returns the scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the head of the request.
    #[must_use]
    pub const fn head(&self) -> RequestHead<'a> {
        self.head
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("scheme", &self.scheme)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// The kinds of proof that are configured, and those that are required.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    #[cfg(all(feature = "dpop", feature = "_crypto"))]
    pub(crate) dpop: Option<Dpop>,
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) mtls: Option<Mtls>,
    /// Refuses tokens that are bound to no key.
    pub(crate) required: bool,
    /// Accepts only the algorithms of [`FAPI2`].
    pub(crate) fapi2: bool,
}

/// The algorithms of the FAPI 2.0 Security Profile (§5.4.1), for tokens and proofs alike.
#[cfg(all(feature = "_jose", feature = "_crypto"))]
pub(crate) const FAPI2: [jose::algorithm::Algorithm; 3] = {
    use jose::algorithm::Algorithm;
    [Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA]
};

/// The proof that was presented with a request, as far as work on it remains.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// A proof that is good unless it was used before. The replay check comes last.
    pub(crate) pending: Option<Pending>,
    pub(crate) left: Left,
}

/// The data that remains to be used when a request is admitted.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The record that the proof was marked as used.
    pub(crate) proven: Option<Proven>,
    /// A nonce for the next proof, because the nonce of this one is about to expire.
    pub(crate) nonce: Option<HeaderValue>,
    /// The certificate that a trusted proxy named in a header.
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) believed: Option<Box<Believed>>,
}

impl Left {
    /// Returns the header that the response varies by.
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) fn varies_by(&self) -> Option<HeaderName> {
        self.believed.as_ref().map(|believed| believed.field())
    }

    #[cfg(not(all(feature = "mtls", feature = "_crypto")))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to see")]
    pub(crate) const fn varies_by(&self) -> Option<HeaderName> {
        None
    }
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
    #[cfg(all(feature = "config", feature = "_crypto"))]
    pub(crate) const fn ask_the_impossible(&self) -> bool {
        #[cfg(feature = "dpop")]
        let proofs = self.dpop.is_some();
        #[cfg(not(feature = "dpop"))]
        let proofs = false;
        self.required && !proofs && !self.takes_certificates()
    }

    /// Removes the headers that name a client certificate before a request is passed on.
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) fn strip<B>(&self, request: &mut Request<B>) {
        if let Some(mtls) = &self.mtls {
            mtls.strip(request);
        }
    }

    #[cfg(not(all(feature = "mtls", feature = "_crypto")))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to take off")]
    pub(crate) const fn strip<B>(&self, _: &mut Request<B>) {}

    /// Removes these headers from every sender, for requests whose sender is not known.
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) fn strip_all(&self, headers: &mut http::HeaderMap) {
        if self.mtls.is_some() {
            Mtls::strip_all(headers);
        }
    }

    #[cfg(not(all(feature = "mtls", feature = "_crypto")))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to take off")]
    pub(crate) const fn strip_all(&self, _: &mut http::HeaderMap) {}

    /// Adds the accepted schemes to the challenge.
    #[cfg(all(feature = "dpop", feature = "_crypto"))]
    pub(crate) fn announce(&self, challenge: Challenge) -> Challenge {
        let Some(dpop) = &self.dpop else { return challenge };
        let challenge = challenge.dpop(dpop.names(self.fapi2));
        // Without certificates, a required binding leaves no token that `Bearer` could carry.
        challenge.with_bearer(!self.required || self.takes_certificates())
    }

    #[cfg(not(all(feature = "dpop", feature = "_crypto")))]
    #[expect(clippy::unused_self, reason = "with the feature there is another scheme")]
    pub(crate) const fn announce(&self, challenge: Challenge) -> Challenge {
        challenge
    }

    /// Returns true if tokens can be bound to a certificate.
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) const fn takes_certificates(&self) -> bool {
        self.mtls.is_some()
    }

    #[cfg(not(all(feature = "mtls", feature = "_crypto")))]
    #[expect(clippy::unused_self, reason = "with the feature they can")]
    pub(crate) const fn takes_certificates(&self) -> bool {
        false
    }

    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    fn check_certificate(
        &self,
        thumbprint: &str,
        presented: Option<&Presented<'_>>,
        shown: &mut Shown,
    ) -> Result<(), VerifyError> {
        match (&self.mtls, presented) {
            (Some(mtls), Some(presented)) => mtls.check(thumbprint, presented, shown),
            _ => refuse("the token is bound to a certificate, of which none is looked for"),
        }
    }

    #[cfg(not(all(feature = "mtls", feature = "_crypto")))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to look for")]
    fn check_certificate(
        &self,
        _: &str,
        _: Option<&Presented<'_>>,
        _: &mut Shown,
    ) -> Result<(), VerifyError> {
        refuse("the token is bound to a certificate, of which none is looked for")
    }

    #[cfg(all(feature = "dpop", feature = "_crypto"))]
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

    #[cfg(not(all(feature = "dpop", feature = "_crypto")))]
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

fn refuse<T>(why: &'static str) -> Result<T, VerifyError> {
    Err(VerifyError::new(ErrorKind::UnprovenPossession).with_context(why))
}
