//! Proof of possession: a token that is bound to a key is admitted only with that key.
//!
//! Whether a token is bound says its issuer, by `cnf` in the token or in the answer to its
//! introspection (RFC 7800 §3.1). Every member of it that is known must be satisfied: `jkt` by a DPoP
//! proof ([`Dpop`], RFC 9449), `x5t#S256` by a client certificate ([`Mtls`], RFC 8705). A token that is
//! bound in an unknown way only, or in one that is not configured, is refused, and none is ever taken
//! for a bearer token.
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
//! What this protects against, and what not, is told in [`docs::security`](crate::docs::security).

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

/// The field that holds a proof (RFC 9449 §4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// How a token was presented: with which request, under which scheme.
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
    /// This token came with the request of this head.
    #[must_use]
    pub fn new(token: &'a Token, head: RequestHead<'a>) -> Self {
        Self::under(token.scheme(), head, Some(token))
    }

    /// The same where the token itself is needed no more: no proof names a bearer token.
    pub(crate) const fn under(
        scheme: Scheme,
        head: RequestHead<'a>,
        token: Option<&'a Token>,
    ) -> Self {
        Self { scheme, head, token }
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The head of the request.
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

/// What can be proven here, and what must.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    #[cfg(all(feature = "dpop", feature = "_crypto"))]
    pub(crate) dpop: Option<Dpop>,
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) mtls: Option<Mtls>,
    /// Tokens that are bound to nothing are refused.
    pub(crate) required: bool,
    /// Only with the algorithms of [`FAPI2`].
    pub(crate) fapi2: bool,
}

/// The algorithms of the FAPI 2.0 Security Profile (§5.4.1), for tokens and proofs alike.
#[cfg(all(feature = "_jose", feature = "_crypto"))]
pub(crate) const FAPI2: [jose::algorithm::Algorithm; 3] = {
    use jose::algorithm::Algorithm;
    [Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA]
};

/// What was shown with a request, as far as something is still to be done about it.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// The proof is good unless it was used before. To be found out last of all.
    pub(crate) pending: Option<Pending>,
    pub(crate) left: Left,
}

/// What is left to do when a request is let in.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The proof was marked as used.
    pub(crate) proven: Option<Proven>,
    /// A nonce for the next proof, as that of this one gets old.
    pub(crate) nonce: Option<HeaderValue>,
    /// The certificate that a proxy was believed.
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) believed: Option<Box<Believed>>,
}

impl Left {
    /// The field that the response varies by.
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
    /// Holds the binding of a token against what was shown. Without `presented`, nothing was.
    ///
    /// `None` if nothing had to be.
    ///
    /// # Errors
    ///
    /// [`UnprovenPossession`](ErrorKind::UnprovenPossession) where binding and scheme don't go
    /// together (RFC 8705 §3, RFC 9449 §7.1, §7.2) or the key is another; what is wrong with a proof
    /// otherwise.
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
        // The certificate first: comparing it costs little and marks nothing.
        let mut shown = Box::<Shown>::default();
        if let Some(thumbprint) = certificate {
            self.check_certificate(thumbprint, presented, &mut shown)?;
        }
        if let Some(jkt) = jkt {
            self.check_dpop(jkt, presented, now, &mut shown)?;
        }
        Ok(Some(shown))
    }

    /// Whether tokens must be bound, and can't be in any way that is looked at here.
    #[cfg(all(feature = "config", feature = "_crypto"))]
    pub(crate) const fn ask_the_impossible(&self) -> bool {
        #[cfg(feature = "dpop")]
        let proofs = self.dpop.is_some();
        #[cfg(not(feature = "dpop"))]
        let proofs = false;
        self.required && !proofs && !self.takes_certificates()
    }

    /// Takes what says who the client is off a request that goes on.
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) fn strip<B>(&self, request: &mut Request<B>) {
        if let Some(mtls) = &self.mtls {
            mtls.strip(request);
        }
    }

    #[cfg(not(all(feature = "mtls", feature = "_crypto")))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to take off")]
    pub(crate) const fn strip<B>(&self, _: &mut Request<B>) {}

    /// The same, where it is not known who sent the request.
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
    pub(crate) fn strip_all(&self, headers: &mut http::HeaderMap) {
        if self.mtls.is_some() {
            Mtls::strip_all(headers);
        }
    }

    #[cfg(not(all(feature = "mtls", feature = "_crypto")))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to take off")]
    pub(crate) const fn strip_all(&self, _: &mut http::HeaderMap) {}

    /// Tells clients by which schemes tokens are taken.
    #[cfg(all(feature = "dpop", feature = "_crypto"))]
    pub(crate) fn announce(&self, challenge: Challenge) -> Challenge {
        let Some(dpop) = &self.dpop else { return challenge };
        let challenge = challenge.dpop(dpop.names(self.fapi2));
        // Where a certificate can't bind a token, none is of use under `Bearer`.
        challenge.with_bearer(!self.required || self.takes_certificates())
    }

    #[cfg(not(all(feature = "dpop", feature = "_crypto")))]
    #[expect(clippy::unused_self, reason = "with the feature there is another scheme")]
    pub(crate) const fn announce(&self, challenge: Challenge) -> Challenge {
        challenge
    }

    /// Whether tokens can be bound to a certificate.
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
