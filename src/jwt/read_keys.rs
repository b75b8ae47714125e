//! Reads the keys of an issuer: a JWK Set, a JWK, a key in PEM, or a secret.

use super::{key_faults::KeyProblem, keys::KeySet};
use crate::{
    claims::json::{self, Object},
    jose::{
        algorithm::Algorithm,
        error::KeyError,
        jwk::Jwk,
        key::{VerificationKey, serves},
        pem,
    },
    telemetry::events,
};

/// The maximum number of keys that are kept of a set, unless configured. RFC 7517 has no bound; real
/// sets have less than ten.
pub(crate) const MAX_KEYS: usize = 64;

impl KeySet {
    /// Creates a set from a JWK Set (RFC 7517 §5).
    ///
    /// Keys that can't be used are left out and don't affect the others: keys of an unknown type,
    /// keys for encryption, and keys that are too short or malformed. Symmetric keys are left out
    /// too; use [`from_secret`](Self::from_secret) for a secret. Of more than 64 usable keys the
    /// first 64 are kept. The result may be empty.
    ///
    /// Members of a key that are `null`, and empty arrays, count as absent. A key with the member
    /// `issuer` serves that issuer only, or any tenant if it has `{tenantid}` in the place of one,
    /// as in the key sets of Entra ID.
    ///
    /// ```
    /// use tower_introspect::jwt::KeySet;
    ///
    /// let keys = KeySet::from_jwks(br#"{"keys": [
    ///     {"kty": "AKP", "alg": "ML-DSA-44", "pub": "..."},
    ///     {"kty": "OKP", "crv": "Ed25519", "kid": "a",
    ///      "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    /// ]}"#)?;
    /// assert_eq!(keys.len(), 1);
    /// # Ok::<(), tower_introspect::jose::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not an object with an array `keys`.
    pub fn from_jwks(jwks: &[u8]) -> Result<Self, KeyError> {
        let set = Self::read_jwks(jwks, None, MAX_KEYS)?;
        set.faults.report(None, None);
        Ok(set)
    }

    /// Reads a JWK Set, and keeps at most `max_keys` keys: the first that serve `issuer` and can be
    /// used.
    pub(super) fn read_jwks(
        jwks: &[u8],
        issuer: Option<&str>,
        max_keys: usize,
    ) -> Result<Self, KeyError> {
        if json::byte_order_mark(jwks).is_some() {
            return Err(KeyError::ByteOrderMark);
        }
        let text = std::str::from_utf8(jwks).map_err(|_| KeyError::Malformed)?;
        // Strict at the top level only: an error within one key must not affect the others.
        let set = Object::parse_shallow(text).map_err(|_| KeyError::Malformed)?;
        let keys = set.get("keys").and_then(json::array).ok_or(KeyError::Malformed)?;
        let mut set = Self::default();
        for (index, jwk) in keys.into_iter().enumerate() {
            let jwk = Jwk::read(jwk.get().as_bytes());
            if issuer.is_some_and(|issuer| !serves(jwk.issuer.as_deref(), issuer)) {
                events::key_left_out(index, &"the key is of another issuer");
                continue;
            }
            if let Err(reason @ KeyError::NotForSignatures) = &jwk.key {
                events::key_left_out(index, reason);
            }
            set.add(jwk, max_keys);
        }
        Ok(set)
    }

    /// Adds a key if it can be used and there are fewer than `max_keys`, and notes its faults.
    fn add(&mut self, jwk: Jwk, max_keys: usize) {
        let kid = jwk.kid.as_deref();
        if jwk.has_private_members {
            self.faults.note(kid, KeyProblem::HasPrivateHalf);
        }
        match jwk.key {
            Ok(key) if self.keys.len() < max_keys => self.keys.push(key.into()),
            Ok(_) => self.faults.note(kid, KeyProblem::Unusable(KeyError::TooManyKeys)),
            // No token is signed with such a key.
            Err(KeyError::NotForSignatures) => {}
            Err(reason) => self.faults.note(kid, KeyProblem::Unusable(reason)),
        }
    }

    /// Creates a set of one public JWK (RFC 7517 §4).
    ///
    /// ```
    /// use tower_introspect::{jose::KeyError, jwt::KeySet};
    ///
    /// let weak = KeySet::from_jwk(br#"{"kty": "RSA", "n": "_____w", "e": "AQAB"}"#);
    /// assert_eq!(weak.unwrap_err(), KeyError::TooShort);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the key can't be used to verify signatures.
    pub fn from_jwk(jwk: &[u8]) -> Result<Self, KeyError> {
        let jwk = Jwk::read(jwk);
        if jwk.has_private_members {
            events::private_key_published(None, jwk.kid.as_deref());
        }
        jwk.key.map(Self::single)
    }

    /// Creates a set of one public key in PEM (`PUBLIC KEY` or `RSA PUBLIC KEY`), used with
    /// `algorithm` only.
    ///
    /// ```
    /// use tower_introspect::{jose::Algorithm, jwt::KeySet};
    ///
    /// let pem = b"-----BEGIN PUBLIC KEY-----\n\
    ///     MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    ///     -----END PUBLIC KEY-----\n";
    /// let keys = KeySet::from_pem(Algorithm::EdDSA, pem)?.with_kid("2026");
    /// assert_eq!(keys.len(), 1);
    /// # Ok::<(), tower_introspect::jose::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not such a key, or the key does not fit the algorithm.
    pub fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let public = pem::public_key(pem)?;
        VerificationKey::new(None, Some(algorithm), &public).map(Self::single)
    }

    /// Creates a set of one secret shared with the issuer, for one of the `HS` algorithms.
    ///
    /// # Security
    ///
    /// Anyone who can verify with a secret can also sign with it. Prefer a public key.
    ///
    /// ```
    /// use tower_introspect::{jose::{Algorithm, KeyError}, jwt::KeySet};
    ///
    /// assert!(KeySet::from_secret(Algorithm::HS512, &[7; 64]).is_ok());
    /// let short = KeySet::from_secret(Algorithm::HS512, &[7; 63]);
    /// assert_eq!(short.unwrap_err(), KeyError::TooShort);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the algorithm is not an `HS` algorithm, or the secret is shorter than
    /// the output of its hash (RFC 7518 §3.2).
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        VerificationKey::secret(algorithm, secret).map(Self::single)
    }
}
