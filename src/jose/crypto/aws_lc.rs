//! The backend on AWS-LC.

pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
    digest.as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

pub(crate) fn fill_random(bytes: &mut [u8]) -> bool {
    aws_lc_rs::rand::fill(bytes).is_ok()
}

/// Generates a private key, in PKCS#8. Returns `None` for an algorithm that uses a secret.
#[cfg(feature = "checks")]
pub(crate) fn generate(algorithm: crate::jose::algorithm::Algorithm) -> Option<Vec<u8>> {
    use aws_lc_rs::{encoding::AsDer as _, rand::SystemRandom, rsa, signature};

    use crate::jose::algorithm::KeyType;

    let random = SystemRandom::new();
    let ec = |curve| signature::EcdsaKeyPair::generate_pkcs8(curve, &random).ok();
    let der = match algorithm.key_type() {
        KeyType::P256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?,
        KeyType::P384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
        KeyType::Ed25519 => signature::Ed25519KeyPair::generate_pkcs8v1(&random).ok()?,
        KeyType::Rsa => {
            let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).ok()?;
            let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().ok()?;
            return Some(der.as_ref().to_vec());
        }
        KeyType::Secret => return None,
    };
    Some(der.as_ref().to_vec())
}

#[cfg(feature = "_jose")]
pub(crate) mod keys {
    #[cfg(feature = "dpop")]
    use aws_lc_rs::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
    use aws_lc_rs::{
        hmac,
        signature::{self, ParsedPublicKey},
    };

    use crate::jose::{algorithm::Algorithm, public_key::PublicKey};

    /// The provider that signs with this backend.
    pub(crate) static PROVIDER: &jsonwebtoken::crypto::CryptoProvider =
        &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

    /// A key that is ready to verify the signatures of one algorithm.
    pub(crate) enum Verifier {
        Public(ParsedPublicKey),
        Secret(Box<hmac::Key>),
    }

    /// Returns true if `signature` is that of `message`, for a key that is used only once.
    ///
    /// The result is that of [`Verifier::public`] and [`Verifier::verify`], without parsing the key
    /// into a form to keep.
    #[cfg(feature = "dpop")]
    pub(crate) fn verify_once(
        algorithm: Algorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        if let (PublicKey::Rsa { modulus: n, exponent: e }, Some(rsa)) = (key, rsa(algorithm)) {
            return RsaPublicKeyComponents { n, e }.verify(rsa, message, signature).is_ok();
        }
        let Some((algorithm, bytes)) = curve(algorithm, key) else { return false };
        UnparsedPublicKey::new(algorithm, bytes).verify(message, signature).is_ok()
    }

    impl Verifier {
        /// Creates a verifier from a public key. Returns `None` if the key does not fit the
        /// algorithm, or the point is not on the curve.
        pub(crate) fn public(algorithm: Algorithm, key: &PublicKey) -> Option<Self> {
            let parsed = match key {
                PublicKey::Rsa { .. } => ParsedPublicKey::new(rsa(algorithm)?, key.to_pkcs1_der()?),
                _ => {
                    let (algorithm, bytes) = curve(algorithm, key)?;
                    ParsedPublicKey::new(algorithm, bytes)
                }
            };
            parsed.ok().map(Self::Public)
        }

        /// Creates a verifier from a secret. Returns `None` if the algorithm uses none.
        pub(crate) fn secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
            let algorithm = match algorithm {
                Algorithm::HS256 => hmac::HMAC_SHA256,
                Algorithm::HS384 => hmac::HMAC_SHA384,
                Algorithm::HS512 => hmac::HMAC_SHA512,
                _ => return None,
            };
            Some(Self::Secret(Box::new(hmac::Key::new(algorithm, secret))))
        }

        /// Returns true if `signature` is that of `message`. MACs are compared in constant time.
        pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            match self {
                Self::Public(key) => key.verify_sig(message, signature).is_ok(),
                Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            }
        }
    }

    fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
        Some(match algorithm {
            Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
            Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
            Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }

    /// Returns the key in the form for the algorithm, if both are of the same curve.
    fn curve(
        algorithm: Algorithm,
        key: &PublicKey,
    ) -> Option<(&'static dyn signature::VerificationAlgorithm, &[u8])> {
        Some(match (algorithm, key) {
            (Algorithm::ES256, PublicKey::P256 { point }) => {
                (&signature::ECDSA_P256_SHA256_FIXED, point)
            }
            (Algorithm::ES384, PublicKey::P384 { point }) => {
                (&signature::ECDSA_P384_SHA384_FIXED, point)
            }
            (Algorithm::EdDSA, PublicKey::Ed25519 { x }) => (&signature::ED25519, x),
            _ => return None,
        })
    }
}
