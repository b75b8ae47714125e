//! How a token was presented.

use http::HeaderName;

#[cfg(feature = "_jose")]
use crate::jose;
use crate::{
    credentials::{
        head::RequestHead,
        token::{Scheme, Token},
    },
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// The header that holds a DPoP proof (RFC 9449 §4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// How a token was presented: its scheme and the request it came with.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    scheme: Scheme,
    pub(super) head: RequestHead<'a>,
    pub(super) token: Option<&'a Token>,
}

impl<'a> Presented<'a> {
    /// Creates it. Only a DPoP proof names the token, so `token` may be `None` for other schemes.
    pub(crate) const fn under(
        scheme: Scheme,
        head: RequestHead<'a>,
        token: Option<&'a Token>,
    ) -> Self {
        Self { scheme, head, token }
    }

    pub(crate) const fn scheme(&self) -> Scheme {
        self.scheme
    }
}

/// The algorithms of the FAPI 2.0 Security Profile (§5.4.1), for tokens and proofs alike.
#[cfg(feature = "_jose")]
pub(crate) const FAPI2: [jose::algorithm::Algorithm; 3] = {
    use jose::algorithm::Algorithm;
    [Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA]
};

pub(super) fn unproven<T>(why: &'static str) -> Result<T, VerifyError> {
    Err(VerifyError::new(ErrorKind::UnprovenPossession).with_context(why))
}
