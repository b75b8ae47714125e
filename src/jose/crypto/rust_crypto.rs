//! The backend on RustCrypto, through `jsonwebtoken`.

pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(data).into()
}

pub(crate) fn fill_random(bytes: &mut [u8]) -> bool {
    getrandom::fill(bytes).is_ok()
}

#[cfg(feature = "_jose")]
pub(crate) mod keys {
    use jsonwebtoken::{DecodingKey, signature::Verifier as _};

    use crate::jose::{algorithm::Algorithm, public_key::PublicKey};

    /// The provider that signs with this backend.
    pub(crate) static PROVIDER: &jsonwebtoken::crypto::CryptoProvider =
        &jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

    /// A key that verifies the signatures of one algorithm.
    pub(crate) struct Verifier {
        algorithm: jsonwebtoken::Algorithm,
        key: DecodingKey,
    }

    /// Returns true if `signature` is that of `message`, for a key that is used only once.
    #[cfg(feature = "dpop")]
    pub(crate) fn verify_once(
        algorithm: Algorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let verifier = Verifier::public(algorithm, key);
        verifier.is_some_and(|verifier| verifier.verify(message, signature))
    }

    impl Verifier {
        /// Creates a verifier from a public key. Returns `None` if the key does not fit the
        /// algorithm, or the point is not on the curve.
        pub(crate) fn public(algorithm: Algorithm, key: &PublicKey) -> Option<Self> {
            if algorithm.key_type() != key.key_type() {
                return None;
            }
            let key = match key {
                PublicKey::Rsa { modulus, exponent } => {
                    DecodingKey::from_rsa_raw_components(modulus, exponent)
                }
                PublicKey::P256 { point } | PublicKey::P384 { point } => {
                    DecodingKey::from_ec_der(point)
                }
                PublicKey::Ed25519 { x } => DecodingKey::from_ed_der(x),
            };
            Self::new(algorithm, key)
        }

        /// Creates a verifier from a secret. Returns `None` if the algorithm uses none.
        pub(crate) fn secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
            Self::new(algorithm, DecodingKey::from_secret(secret).ok()?)
        }

        fn new(algorithm: Algorithm, key: DecodingKey) -> Option<Self> {
            let algorithm = algorithm.as_str().parse().ok()?;
            // Checks that a point is on its curve. The verifier of `jsonwebtoken` is not `Send`, so it
            // can't be kept.
            (PROVIDER.verifier_factory)(&algorithm, &key).ok()?;
            Some(Self { algorithm, key })
        }

        /// Returns true if `signature` is that of `message`. MACs are compared in constant time.
        pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            (PROVIDER.verifier_factory)(&self.algorithm, &self.key)
                .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
        }
    }
}
