//! Keys that sign.

use std::{fmt, sync::Arc};

use base64::Engine as _;
use jsonwebtoken::{EncodingKey, jwk::EllipticCurve};
use serde_json::Value;

use super::{
    algorithm::{Algorithm, KeyType},
    base64url::BASE64URL,
    crypto::{self, backend::keys::PROVIDER},
    error::KeyError,
    jwk, key, pem,
    public_key::PublicKey,
};

/// A key that signs.
///
/// Clones share the key. Its `Debug` output does not show it.
#[derive(Clone)]
pub struct SigningKey {
    key: Arc<EncodingKey>,
    algorithm: Algorithm,
    kid: Option<Arc<str>>,
}

impl SigningKey {
    /// Creates a key from a private key in PEM, to be used with `algorithm`.
    ///
    /// Accepts PKCS#8 (`PRIVATE KEY`), `RSA PRIVATE KEY` and `EC PRIVATE KEY`. Encrypted keys are
    /// refused.
    ///
    /// ```
    /// use tower_introspect::jose::{Algorithm, SigningKey};
    ///
    /// let pem = b"-----BEGIN PRIVATE KEY-----\n\
    ///     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    ///     -----END PRIVATE KEY-----\n";
    /// let key = SigningKey::from_pem(Algorithm::EdDSA, pem)?.with_kid("2026");
    /// assert_eq!(key.kid(), Some("2026"));
    /// # Ok::<(), tower_introspect::jose::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not such a key, or the key does not fit the algorithm.
    pub fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let key = pem::private_key(pem, algorithm.key_type())?;
        let key = Self { key: Arc::new(key), algorithm, kid: None };
        // Has the backend read the key.
        if key.public().is_some() { Ok(key) } else { Err(KeyError::Malformed) }
    }

    /// Creates a key from a secret, for one of the `HS` algorithms.
    ///
    /// ```
    /// use tower_introspect::jose::{Algorithm, KeyError, SigningKey};
    ///
    /// assert!(SigningKey::from_secret(Algorithm::HS256, &[7; 32]).is_ok());
    /// let short = SigningKey::from_secret(Algorithm::HS256, b"hunter2");
    /// assert_eq!(short.unwrap_err(), KeyError::TooShort);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the algorithm is not an `HS` algorithm, or the secret is shorter than
    /// the output of its hash (RFC 7518 §3.2).
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        key::check_secret(algorithm, secret)?;
        let key = EncodingKey::from_secret(secret).map_err(|_| KeyError::TooShort)?;
        Ok(Self { key: Arc::new(key), algorithm, kid: None })
    }

    /// Sets the name of the key (RFC 7517 §4.5).
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into().into());
        self
    }

    /// Returns the name of the key.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns the algorithm of the signatures.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs a JWS with exactly this header and this payload, and returns its compact serialisation
    /// (RFC 7515 §7.1).
    ///
    /// Adds nothing: the caller writes `alg`, `kid` and `typ`. A test may write wrong ones.
    ///
    /// ```
    /// use serde_json::json;
    /// use tower_introspect::jose::{Algorithm, SigningKey};
    ///
    /// let key = SigningKey::from_secret(Algorithm::HS256, &[7; 32])?;
    /// let token = key.sign(&json!({"alg": "HS256"}), &json!({"sub": "alice"}))?;
    /// assert_eq!(token.split('.').count(), 3);
    /// # Ok::<(), tower_introspect::jose::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the backend can't sign.
    pub fn sign(&self, header: &Value, claims: &Value) -> Result<String, KeyError> {
        let mut token = BASE64URL.encode(header.to_string());
        token.push('.');
        BASE64URL.encode_string(claims.to_string(), &mut token);
        let signature = self.sign_bytes(token.as_bytes())?;
        token.push('.');
        BASE64URL.encode_string(signature, &mut token);
        Ok(token)
    }

    /// Returns the bare signature of `message`.
    ///
    /// # Errors
    ///
    /// Returns an error if the backend can't sign.
    pub fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        crypto::sign::sign(self.algorithm, &self.key, message).ok_or(KeyError::SigningFailed)
    }

    /// Returns the public key as a JWK, with `use`, `alg` and, if the key has a name, `kid`.
    ///
    /// Returns `None` for a secret, which has no public key.
    #[must_use]
    pub fn public_jwk(&self) -> Option<Value> {
        Some(jwk::to_jwk(self.kid(), self.algorithm, &self.public()?))
    }

    /// Returns the public key. Returns `None` for a secret, and for a malformed key.
    fn public(&self) -> Option<PublicKey> {
        let (utils, der) = (&PROVIDER.key_utils, self.key.as_bytes());
        let public = match self.algorithm.key_type() {
            KeyType::Rsa => {
                let (n, e) = (utils.rsa_pub_components_from_private_key)(der).ok()?;
                PublicKey::rsa(&n, &e)
            }
            curve @ (KeyType::P256 | KeyType::P384) => {
                let algorithm = self.algorithm.as_str().parse().ok()?;
                let (_, x, y) = (utils.ec_pub_components_from_private_key)(der, algorithm).ok()?;
                PublicKey::ec(curve, &x, &y)
            }
            KeyType::Ed25519 => {
                let curve = EllipticCurve::Ed25519;
                let x = (utils.ed_pub_components_from_private_key)(der, &curve).ok()?;
                PublicKey::ed25519(&x)
            }
            KeyType::Secret => return None,
        };
        public.ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        jose::jws::CompactJws,
        jwt::keys::{KeySet, Mismatch},
    };

    const RSA: &[u8] = include_bytes!("../../tests/it/keys/rsa.pem");
    const P256: &[u8] = include_bytes!("../../tests/it/keys/p256.pem");
    const P384: &[u8] = include_bytes!("../../tests/it/keys/p384.pem");
    const ED25519: &[u8] = include_bytes!("../../tests/it/keys/ed25519.pem");

    fn pem(algorithm: Algorithm) -> &'static [u8] {
        match algorithm {
            Algorithm::ES256 => P256,
            Algorithm::ES384 => P384,
            Algorithm::EdDSA => ED25519,
            _ => RSA,
        }
    }

    fn check(keys: &KeySet, algorithm: Algorithm, token: &str) -> Result<(), Mismatch> {
        let jws = CompactJws::parse(token).unwrap();
        let message = jws.signing_input().as_bytes();
        keys.verify(algorithm, None, (message, jws.signature()), 1).map(drop)
    }

    #[test]
    fn signature_verifies_with_the_public_key() {
        for algorithm in Algorithm::ASYMMETRIC {
            let key = SigningKey::from_pem(algorithm, pem(algorithm)).unwrap();
            let token = key.sign(&json!({"alg": algorithm.as_str()}), &json!({})).unwrap();
            let jwk = key.public_jwk().unwrap().to_string();
            let keys = KeySet::from_jwk(jwk.as_bytes()).unwrap();
            assert_eq!(check(&keys, algorithm, &token), Ok(()), "{algorithm}");
            assert_eq!(keys.algorithms().collect::<Vec<_>>(), [algorithm]);
            let damaged = token.replacen('.', ".e", 1);
            if let Ok(jws) = CompactJws::parse(&damaged) {
                let message = jws.signing_input().as_bytes();
                let signed = (message, jws.signature());
                assert!(keys.verify(algorithm, None, signed, 1).is_err());
            }
        }
    }

    #[test]
    fn secrets_sign_and_verify() {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let key = SigningKey::from_secret(algorithm, &[7; 64]).unwrap();
            let token = key.sign(&json!({"alg": algorithm.as_str()}), &json!({})).unwrap();
            let keys = |byte| KeySet::from_secret(algorithm, &[byte; 64]).unwrap();
            assert_eq!(check(&keys(7), algorithm, &token), Ok(()));
            assert_eq!(check(&keys(8), algorithm, &token), Err(Mismatch::BadSignature));
            assert!(key.public_jwk().is_none());
        }
    }

    #[test]
    fn all_encodings_of_a_private_key_give_the_same_key() {
        let jwk = |algorithm, pem| SigningKey::from_pem(algorithm, pem).unwrap().public_jwk();
        let pkcs1 = include_bytes!("../../tests/it/keys/rsa.pkcs1.pem");
        assert_eq!(jwk(Algorithm::PS384, RSA), jwk(Algorithm::PS384, pkcs1));
        let sec1 = include_bytes!("../../tests/it/keys/p256.sec1.pem");
        assert_eq!(jwk(Algorithm::ES256, P256), jwk(Algorithm::ES256, sec1));
    }

    #[test]
    fn all_encodings_of_a_public_key_verify() {
        let token = |algorithm| {
            let key = SigningKey::from_pem(algorithm, pem(algorithm)).unwrap();
            key.sign(&json!({}), &json!({})).unwrap()
        };
        for (algorithm, public) in [
            (Algorithm::RS256, &include_bytes!("../../tests/it/keys/rsa.pub.pem")[..]),
            (Algorithm::RS512, include_bytes!("../../tests/it/keys/rsa.pkcs1.pub.pem")),
            (Algorithm::ES256, include_bytes!("../../tests/it/keys/p256.pub.pem")),
            (Algorithm::ES384, include_bytes!("../../tests/it/keys/p384.pub.pem")),
            (Algorithm::EdDSA, include_bytes!("../../tests/it/keys/ed25519.pub.pem")),
        ] {
            let keys = KeySet::from_pem(algorithm, public).unwrap();
            assert_eq!(check(&keys, algorithm, &token(algorithm)), Ok(()), "{algorithm}");
        }
    }

    #[test]
    fn a_key_of_another_type_is_refused() {
        for (algorithm, pem) in [
            (Algorithm::RS256, P256),
            (Algorithm::ES256, P384),
            (Algorithm::ES384, P256),
            (Algorithm::EdDSA, RSA),
            (Algorithm::HS256, RSA),
        ] {
            let error = SigningKey::from_pem(algorithm, pem).unwrap_err();
            assert_eq!(error, KeyError::WrongAlgorithm, "{algorithm}");
        }
        let public = include_bytes!("../../tests/it/keys/p256.pub.pem");
        let error = KeySet::from_pem(Algorithm::ES384, public).unwrap_err();
        assert_eq!(error, KeyError::WrongAlgorithm);
        let private = KeySet::from_pem(Algorithm::ES256, P256).unwrap_err();
        assert_eq!(private, KeyError::Unsupported);
    }

    #[test]
    fn rfc7518_3_3_a_short_rsa_key_is_refused() {
        let private = include_bytes!("../../tests/it/keys/rsa-1024.pem");
        assert!(SigningKey::from_pem(Algorithm::RS256, private).is_err());
        let public = include_bytes!("../../tests/it/keys/rsa-1024.pub.pem");
        let error = KeySet::from_pem(Algorithm::RS256, public).unwrap_err();
        assert_eq!(error, KeyError::TooShort);
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let key = SigningKey::from_secret(Algorithm::HS256, &[7; 32]).unwrap().with_kid("a");
        let shown = format!("{key:?}");
        assert_eq!(shown, "SigningKey { algorithm: HS256, kid: Some(\"a\"), .. }");
    }
}
