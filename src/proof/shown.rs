//! The proof of a request, as far as work on it remains.

use http::{HeaderName, HeaderValue};

#[cfg(feature = "mtls")]
use super::mtls::settings::Believed;
use super::replay::proven::{Pending, Proven};

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
    #[cfg(feature = "mtls")]
    pub(crate) believed: Option<Box<Believed>>,
}

impl Left {
    /// Returns the header that the response varies by.
    #[cfg(feature = "mtls")]
    pub(crate) fn varies_by(&self) -> Option<HeaderName> {
        self.believed.as_ref().map(|believed| believed.field())
    }

    #[cfg(not(feature = "mtls"))]
    #[expect(clippy::unused_self, reason = "with the feature there is something to see")]
    pub(crate) const fn varies_by(&self) -> Option<HeaderName> {
        None
    }
}
