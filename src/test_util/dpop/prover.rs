//! A client with a key of its own.

use std::{fmt, sync::Arc};

use serde_json::Value;

use crate::{
    clock::{Clock, SystemClock},
    jose::{algorithm::Algorithm, jwk::ProofKey, signing::SigningKey},
    test_util::keys,
};

/// A client with a key that proves possession of its tokens.
///
/// ```
/// use tower_introspect::test_util::{AuthorizationServer, Prover};
///
/// let server = AuthorizationServer::new("https://as.example.com");
/// let laptop = Prover::new("laptop of alice");
/// let token = server.jwt().audience("https://api.example.com").bound_to(&laptop).mint();
///
/// // For `Authorization: DPoP {token}` and `DPoP: {proof}`.
/// let proof = laptop.proof("GET", "https://api.example.com/payments").for_token(&token).mint();
/// # let _ = proof;
/// ```
#[derive(Clone)]
pub struct Prover {
    pub(super) key: SigningKey,
    pub(super) jwk: Value,
    thumbprint: String,
    pub(super) clock: Arc<dyn Clock>,
}

impl Prover {
    /// Creates a client with an ES256 key derived from `name`, so that each name has its own key.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::with_key(keys::derived(Algorithm::ES256, name))
    }

    /// Creates a client with this key.
    ///
    /// ```
    /// use tower_introspect::{jose::{Algorithm, SigningKey}, test_util::Prover};
    ///
    /// let pem = b"-----BEGIN PRIVATE KEY-----\n\
    ///     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    ///     -----END PRIVATE KEY-----\n";
    /// let prover = Prover::with_key(SigningKey::from_pem(Algorithm::EdDSA, pem)?);
    /// // RFC 8037 appendix A.3.
    /// assert_eq!(prover.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    /// # Ok::<(), tower_introspect::jose::KeyError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the key is a secret, which has no public half.
    #[must_use]
    pub fn with_key(key: SigningKey) -> Self {
        let mut jwk = key.public_jwk().expect("a key with a public half");
        let members = jwk.as_object_mut().expect("a key is an object");
        for name in ["use", "alg", "kid"] {
            members.remove(name);
        }
        let thumbprint = ProofKey::parse(&jwk.to_string())
            .map(|key| key.thumbprint().to_owned())
            .expect("a published key can be parsed");
        Self { key, jwk, thumbprint, clock: Arc::new(SystemClock) }
    }

    /// Sets the clock. Default: the clock of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns the thumbprint of the key, as in `cnf.jkt` of tokens bound to it (RFC 9449 §6.1).
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Returns the public half of the key, as it is in proofs.
    #[must_use]
    pub const fn jwk(&self) -> &Value {
        &self.jwk
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prover").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}
