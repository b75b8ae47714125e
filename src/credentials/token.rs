//! The access token of a request and its digest.

use super::grammar;

#[cfg(feature = "_crypto")]
use std::sync::OnceLock;
use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

/// The authentication scheme a token was presented under.
// As large as a pointer, so that all fields of a `VerifiedToken` are. Each request moves one, and
// moving the bytes around a one-byte field costs more than everything else.
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `Bearer` (RFC 6750).
    Bearer,
    /// `DPoP` (RFC 9449).
    Dpop,
}

impl Scheme {
    /// Returns the name of the scheme in its usual spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }

    /// Returns the scheme of the only `Authorization` field, if it is one of these.
    pub(crate) fn used_in(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(AUTHORIZATION).into_iter();
        let (Some(only), None) = (fields.next(), fields.next()) else { return None };
        Self::named(only.as_bytes().trim_ascii_start().split(|byte| *byte == b' ').next()?)
    }

    /// Returns the scheme of this name, in any case (RFC 9110 §11.1).
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let is = |scheme: &Self| name.eq_ignore_ascii_case(scheme.as_str().as_bytes());
        [Self::Bearer, Self::Dpop].into_iter().find(is)
    }
}

/// The place in the request where a token was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub(crate) enum Origin {
    /// A cookie.
    Cookie,
    /// The `Authorization` header (RFC 6750 §2.1).
    Header,
    /// Another header, which holds nothing else.
    OtherHeader,
    /// The query of the request target (RFC 6750 §2.3).
    Query,
    /// An entry of `Sec-WebSocket-Protocol`.
    WebSocketProtocol,
}

/// A token as the client presented it, not yet verified.
///
/// It is visible ASCII. One that an [`Extractor`](super::Extractor) found is within the length
/// limit. It shares the memory of the header it came in, and its `Debug` form does not show it.
#[derive(Clone)]
pub struct Token {
    value: HeaderValue,
    range: Range<usize>,
    scheme: Scheme,
    origin: Origin,
    /// Computed on first use.
    #[cfg(feature = "_crypto")]
    fingerprint: OnceLock<Fingerprint>,
}

impl Token {
    /// Creates a bearer token from its text, for use outside of a request.
    ///
    /// Returns `None` if the text is not a `b64token` (RFC 6750 §2.1). The length is not limited.
    ///
    /// ```
    /// use tower_introspect::credentials::Token;
    ///
    /// assert!(Token::bearer("abc").is_some());
    /// assert!(Token::bearer("a b").is_none());
    /// ```
    #[must_use]
    pub fn bearer(text: &str) -> Option<Self> {
        grammar::is_b64token(text.as_bytes())
            .then(|| HeaderValue::from_str(text).ok())?
            .map(|value| Self::new(value, 0..text.len(), Scheme::Bearer, Origin::Header))
    }

    pub(super) fn new(
        mut value: HeaderValue,
        range: Range<usize>,
        scheme: Scheme,
        origin: Origin,
    ) -> Self {
        // Sensitive values are left out of HPACK tables and of `Debug` output.
        value.set_sensitive(true);
        Self {
            value,
            range,
            scheme,
            origin,
            #[cfg(feature = "_crypto")]
            fingerprint: OnceLock::new(),
        }
    }

    /// Returns the token with a digest that is already known.
    #[cfg(feature = "_crypto")]
    pub(crate) fn with_fingerprint(self, fingerprint: Fingerprint) -> Self {
        Self { fingerprint: OnceLock::from(fingerprint), ..self }
    }

    /// Returns the digest, computed with `sha256` on first use.
    ///
    /// The function is a parameter because this module must not depend on a cryptography backend.
    #[cfg(feature = "_crypto")]
    pub(crate) fn fingerprint(&self, sha256: fn(&[u8]) -> [u8; 32]) -> &Fingerprint {
        self.fingerprint.get_or_init(|| Fingerprint(sha256(self.secret_bytes())))
    }

    /// Returns the token itself.
    ///
    /// # Security
    ///
    /// Anyone who has the token can use it: never log or store it.
    #[must_use]
    pub fn secret_str(&self) -> &str {
        // The grammar of tokens allows only ASCII.
        std::str::from_utf8(self.secret_bytes()).unwrap_or_default()
    }

    /// Returns the token itself as bytes.
    pub(crate) fn secret_bytes(&self) -> &[u8] {
        self.value.as_bytes().get(self.range.clone()).unwrap_or_default()
    }

    /// Returns the scheme under which the token was presented.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns where in the request the token was found.
    #[must_use]
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("scheme", &self.scheme)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// The SHA-256 digest of a token, which identifies it where the token itself must not appear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Hash for Fingerprint {
    /// Leaves out the length, which is the same for all.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Fingerprint {
    /// Creates a fingerprint from a digest.
    #[must_use]
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    /// Writes the first eight bytes, which are enough to tell tokens apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
