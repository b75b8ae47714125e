//! The credentials a request carries.
//!
//! By default a token is taken from the `Authorization` header and nowhere else (RFC 6750 §2.1);
//! [`Extractor`] adds other places for those who need them.
//!
//! ```
//! use http::{HeaderMap, Uri, header};
//! use tower_introspect::credentials::{Extractor, Scheme};
//!
//! let mut headers = HeaderMap::new();
//! headers.insert(header::AUTHORIZATION, "bearer abc.def==".parse()?);
//! let token = Extractor::new().extract(&headers, &Uri::default())?;
//! assert_eq!(token.scheme(), Scheme::Bearer);
//! assert_eq!(token.secret_str(), "abc.def==");
//! assert!(!format!("{token:?}").contains("abc"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod extract;
pub(crate) mod found;
mod grammar;

#[cfg(feature = "_crypto")]
use std::sync::OnceLock;
use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

pub use self::extract::Extractor;

/// The authentication scheme a token was presented under.
// A word, so that a `VerifiedToken` is made of nothing but words. Each request moves one, and moving the
// bytes around a single byte takes longer than all of the rest.
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
    /// The name, as it is usually spelled.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }

    /// The scheme of the only `Authorization` field, if it is one of these.
    pub(crate) fn used_in(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(AUTHORIZATION).into_iter();
        let (Some(only), None) = (fields.next(), fields.next()) else { return None };
        Self::named(only.as_bytes().trim_ascii_start().split(|byte| *byte == b' ').next()?)
    }

    /// Case does not matter (RFC 9110 §11.1).
    fn named(name: &[u8]) -> Option<Self> {
        let is = |scheme: &Self| name.eq_ignore_ascii_case(scheme.as_str().as_bytes());
        [Self::Bearer, Self::Dpop].into_iter().find(is)
    }
}

/// Where in the request a token was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// A cookie.
    Cookie,
    /// The `Authorization` header (RFC 6750 §2.1).
    Header,
    /// The query of the request target (RFC 6750 §2.3).
    Query,
    /// An entry of `Sec-WebSocket-Protocol`.
    WebSocketProtocol,
}

/// A token as it was presented: visible ASCII, within the length limit, and nothing more is known
/// of it.
///
/// Shares the memory of the header it came in. Its `Debug` form does not show it.
#[derive(Clone)]
pub struct Token {
    value: HeaderValue,
    range: Range<usize>,
    scheme: Scheme,
    origin: Origin,
    /// Taken when it is first asked for.
    #[cfg(feature = "_crypto")]
    fingerprint: OnceLock<Fingerprint>,
}

impl Token {
    /// A bearer token from its text, for use outside of a request.
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

    fn new(mut value: HeaderValue, range: Range<usize>, scheme: Scheme, origin: Origin) -> Self {
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

    /// The same token, whose digest is known already.
    #[cfg(feature = "_crypto")]
    pub(crate) fn with_fingerprint(self, fingerprint: Fingerprint) -> Self {
        Self { fingerprint: OnceLock::from(fingerprint), ..self }
    }

    /// Its digest, by this where it was not taken before: credentials stand below cryptography.
    #[cfg(feature = "_crypto")]
    pub(crate) fn fingerprint(&self, sha256: fn(&[u8]) -> [u8; 32]) -> &Fingerprint {
        self.fingerprint.get_or_init(|| Fingerprint(sha256(self.secret_bytes())))
    }

    /// The token itself. Anyone who has it can use it: never log it, never store it.
    #[must_use]
    pub fn secret_str(&self) -> &str {
        // The grammar the token was taken by is ASCII.
        std::str::from_utf8(self.secret_bytes()).unwrap_or_default()
    }

    /// The same as bytes.
    pub(crate) fn secret_bytes(&self) -> &[u8] {
        self.value.as_bytes().get(self.range.clone()).unwrap_or_default()
    }

    /// The scheme it was presented under.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Where it was found.
    #[must_use]
    pub fn origin(&self) -> Origin {
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

/// The SHA-256 digest of a token: its name wherever the token itself must not appear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Hash for Fingerprint {
    /// All have the same length, so it is not hashed along.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Fingerprint {
    /// A fingerprint from a digest.
    #[must_use]
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    /// The first eight bytes, enough to tell tokens apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
