//! Proofs of possession, good and bad, and a client that sends good ones (RFC 9449).

pub(crate) mod client;
pub(crate) mod proof;

use std::{fmt, sync::Arc};

use serde_json::Value;

use self::{client::DpopClientLayer, proof::ProofBuilder};
use super::keys;
use crate::{
    clock::{Clock, SystemClock},
    jose::{algorithm::Algorithm, jwk::ProofKey, signing::SigningKey},
};

/// A client with a key of its own, by which it proves that a token is its.
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
    key: SigningKey,
    jwk: Value,
    thumbprint: String,
    clock: Arc<dyn Clock>,
}

impl Prover {
    /// A client with a key for ES256 that is always the same for a name, and another one for every name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::with_key(keys::derived(Algorithm::ES256, name))
    }

    /// A client with this key.
    ///
    /// ```
    /// use tower_introspect::{
    ///     jwt::{Algorithm, SigningKey},
    ///     test_util::Prover,
    /// };
    ///
    /// let pem = b"-----BEGIN PRIVATE KEY-----\n\
    ///     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    ///     -----END PRIVATE KEY-----\n";
    /// let prover = Prover::with_key(SigningKey::from_pem(Algorithm::EdDSA, pem)?);
    /// // RFC 8037 appendix A.3.
    /// assert_eq!(prover.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    /// # Ok::<(), tower_introspect::jwt::KeyError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If it is a secret, of which there is nothing to show.
    #[must_use]
    pub fn with_key(key: SigningKey) -> Self {
        let mut jwk = key.public_jwk().expect("a key with a public half");
        let members = jwk.as_object_mut().expect("a key is an object");
        for name in ["use", "alg", "kid"] {
            members.remove(name);
        }
        let thumbprint = ProofKey::parse(&jwk.to_string())
            .map(|key| key.thumbprint().to_owned())
            .expect("what is published can be read");
        Self { key, jwk, thumbprint, clock: Arc::new(SystemClock) }
    }

    /// The same, by another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The thumbprint of the key, as a token that is bound to it has in `cnf.jkt` (RFC 9449 §6.1).
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The public half of the key, as proofs show it.
    #[must_use]
    pub const fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// Starts a proof for a request to `url`. It is good unless you make it bad.
    pub fn proof(&self, method: &str, url: &str) -> ProofBuilder {
        ProofBuilder::new(self, method, url)
    }

    /// A client that sends requests with `token` and a new proof each, and does as it is told about
    /// nonces. `base` is where it believes to find the service: `https://api.example.com`, say.
    #[must_use]
    pub fn client(&self, base: &str, token: &str) -> DpopClientLayer {
        DpopClientLayer::new(self.clone(), base, token)
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prover").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}
