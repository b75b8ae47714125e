use std::time::Duration;

use crate::credentials::Token;
#[cfg(feature = "_crypto")]
use crate::{credentials::Fingerprint, jose::crypto};

/// How recently the token must have been verified.
///
/// Held against the *start* of the verification that an answer comes from, when the answer is
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// As recently as the verifier's own settings ask for.
    #[default]
    Cached,
    /// The authorization server is asked about this very request.
    Live,
    /// At most this long ago.
    Within(Duration),
}

/// What a [`Verifier`](super::Verifier) is asked.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    token: Token,
    freshness: Freshness,
}

impl VerifyRequest {
    /// Asks about `token`.
    ///
    /// ```
    /// use tower_introspect::{credentials::Token, verify::{Freshness, VerifyRequest}};
    ///
    /// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
    /// assert_eq!(request.freshness(), Freshness::Cached);
    /// ```
    #[must_use]
    pub const fn new(token: Token) -> Self {
        Self { token, freshness: Freshness::Cached }
    }

    /// Sets how recent the answer must be.
    #[must_use]
    pub const fn with_freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// How recent the answer must be.
    #[must_use]
    pub const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// The SHA-256 digest of the token.
    #[cfg(feature = "_crypto")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.token)
    }
}

/// The SHA-256 digest of a token. Here and not beside its type, because credentials stand below
/// cryptography.
#[cfg(feature = "_crypto")]
pub(super) fn fingerprint(token: &Token) -> Fingerprint {
    Fingerprint::from_digest(crypto::sha256(token.secret_str().as_bytes()))
}
