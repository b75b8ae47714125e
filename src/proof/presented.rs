//! How a token was presented.

use std::fmt;

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
///
/// ```
/// use http::{HeaderMap, Method, Uri};
/// use tower_introspect::{credentials::{RequestHead, Scheme, Token}, proof::Presented};
///
/// let (method, uri, headers) = (Method::GET, Uri::from_static("/"), HeaderMap::new());
/// let token = Token::bearer("abc").unwrap();
/// let presented = Presented::new(&token, RequestHead::new(&method, &uri, &headers));
/// assert_eq!(presented.scheme(), Scheme::Bearer);
/// ```
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    scheme: Scheme,
    pub(super) head: RequestHead<'a>,
    pub(super) token: Option<&'a Token>,
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

/// The algorithms of the FAPI 2.0 Security Profile (§5.4.1), for tokens and proofs alike.
#[cfg(feature = "_jose")]
pub(crate) const FAPI2: [jose::algorithm::Algorithm; 3] = {
    use jose::algorithm::Algorithm;
    [Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA]
};

pub(super) fn refuse<T>(why: &'static str) -> Result<T, VerifyError> {
    Err(VerifyError::new(ErrorKind::UnprovenPossession).with_context(why))
}
