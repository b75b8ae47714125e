//! The result of checking a proof: the work that remains on the request and its response.

use http::{HeaderName, HeaderValue};

#[cfg(feature = "mtls")]
use super::mtls::settings::ForwardedCertificate;
use super::replay::pending_mark::{MarkedProof, PendingMark};

/// The result of checking the proof of a request.
#[derive(Debug, Default)]
pub(crate) struct ProofResult {
    /// A proof that is good unless it was used before. The replay check comes last.
    pub(crate) pending_mark: Option<PendingMark>,
    pub(crate) effects: ProofEffects,
}

/// The changes to the request and its response if the request is admitted.
#[derive(Debug, Default)]
pub(crate) struct ProofEffects {
    /// The record that the proof was marked as used.
    pub(crate) marked_proof: Option<MarkedProof>,
    /// A nonce for the next proof, because the nonce of this one is about to expire.
    pub(crate) nonce: Option<HeaderValue>,
    /// The certificate that a trusted proxy named in a header.
    #[cfg(feature = "mtls")]
    pub(crate) forwarded_certificate: Option<Box<ForwardedCertificate>>,
}

impl ProofEffects {
    /// Returns the header that the response varies by.
    #[cfg(feature = "mtls")]
    pub(crate) fn varies_by(&self) -> Option<HeaderName> {
        self.forwarded_certificate.as_ref().map(|certificate| certificate.field())
    }

    #[cfg(not(feature = "mtls"))]
    #[expect(clippy::unused_self, reason = "a header can hold a certificate only with `mtls`")]
    pub(crate) const fn varies_by(&self) -> Option<HeaderName> {
        None
    }
}
