//! The backend on RustCrypto, through `jsonwebtoken`.

#[cfg(feature = "dpop")]
pub(crate) use self::keys::verify_once;
#[cfg(feature = "_jose")]
pub(crate) use self::keys::{MAX_RSA_BITS, Signer, Verifier};

pub(super) fn sha256(data: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(data).into()
}

pub(super) fn fill_random(bytes: &mut [u8]) -> bool {
    getrandom::getrandom(bytes).is_ok()
}

#[cfg(feature = "_jose")]
mod keys {
    use hmac::{Hmac, Mac};
    use jsonwebtoken::{
        Algorithm as Foreign, DecodingKey, EncodingKey,
        crypto::{CryptoProvider, rust_crypto},
        signature::{Signer as _, Verifier as _},
    };
    use pkcs8::PrivateKeyInfo;
    use sha2::{Sha256, Sha384, Sha512};

    use crate::jose::{
        algorithm::{Algorithm, KeyType},
        key::PublicKey,
    };

    /// The maximum size of an RSA modulus, in bits.
    pub(crate) const MAX_RSA_BITS: usize = 4096;

    /// The provider, named explicitly: the process-wide default of `jsonwebtoken` panics as soon as
    /// another crate enables its other backend.
    static PROVIDER: &CryptoProvider = &rust_crypto::DEFAULT_PROVIDER;

    /// A key that is ready to verify the signatures of one algorithm.
    pub(crate) enum Verifier {
        Public(Foreign, DecodingKey),
        Secret(Box<Keyed>),
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
            let algorithm = foreign(algorithm)?;
            // Checks that the point is on the curve. The verifier is not `Send`, so it can't be
            // kept.
            (PROVIDER.verifier_factory)(&algorithm, &key).ok()?;
            Some(Self::Public(algorithm, key))
        }

        /// Creates a verifier from a secret. Returns `None` if the algorithm uses none.
        pub(crate) fn secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
            Keyed::new(algorithm, secret).map(Box::new).map(Self::Secret)
        }

        /// Returns true if `signature` is that of `message`. MACs are compared in constant time.
        pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            match self {
                Self::Public(algorithm, key) => (PROVIDER.verifier_factory)(algorithm, key)
                    .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok()),
                Self::Secret(key) => key.verify(message, signature),
            }
        }
    }

    /// A key that is ready to sign with one algorithm.
    pub(crate) enum Signer {
        Private { algorithm: Foreign, key: EncodingKey, public: PublicKey },
        Secret(Box<Keyed>),
    }

    impl Signer {
        /// Creates a signer from a private key in PKCS#8. Returns `None` if the key is malformed or
        /// does not fit the algorithm.
        pub(crate) fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Option<Self> {
            let utils = &PROVIDER.key_utils;
            let name = foreign(algorithm)?;
            let (key, public) = match algorithm.key_type() {
                KeyType::Rsa => {
                    let der = PrivateKeyInfo::try_from(der).ok()?.private_key;
                    let (n, e) = (utils.rsa_pub_components_from_private_key)(der).ok()?;
                    (EncodingKey::from_rsa_der(der), PublicKey::rsa(&n, &e).ok()?)
                }
                KeyType::P256 | KeyType::P384 => {
                    let (_, x, y) = (utils.ec_pub_components_from_private_key)(der, name).ok()?;
                    let public = PublicKey::ec(algorithm.key_type(), &x, &y).ok()?;
                    (EncodingKey::from_ec_der(der), public)
                }
                KeyType::Ed25519 => {
                    let curve = jsonwebtoken::jwk::EllipticCurve::Ed25519;
                    let x = (utils.ed_pub_components_from_private_key)(der, &curve).ok()?;
                    (EncodingKey::from_ed_der(der), PublicKey::ed25519(&x).ok()?)
                }
                KeyType::Secret => return None,
            };
            (PROVIDER.signer_factory)(&name, &key).ok()?;
            Some(Self::Private { algorithm: name, key, public })
        }

        /// Creates a signer from a secret. Returns `None` if the algorithm uses none.
        pub(crate) fn secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
            Keyed::new(algorithm, secret).map(Box::new).map(Self::Secret)
        }

        pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
            match self {
                Self::Private { algorithm, key, .. } => {
                    (PROVIDER.signer_factory)(algorithm, key).ok()?.try_sign(message).ok()
                }
                Self::Secret(key) => Some(key.sign(message)),
            }
        }

        /// Returns the public key, `None` for a secret.
        pub(crate) fn public(&self) -> Option<PublicKey> {
            match self {
                Self::Private { public, .. } => Some(public.clone()),
                Self::Secret(_) => None,
            }
        }
    }

    /// An HMAC that is keyed with a secret.
    pub(crate) enum Keyed {
        Sha256(Hmac<Sha256>),
        Sha384(Hmac<Sha384>),
        Sha512(Hmac<Sha512>),
    }

    impl Keyed {
        fn new(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
            match algorithm {
                Algorithm::HS256 => Hmac::new_from_slice(secret).ok().map(Self::Sha256),
                Algorithm::HS384 => Hmac::new_from_slice(secret).ok().map(Self::Sha384),
                Algorithm::HS512 => Hmac::new_from_slice(secret).ok().map(Self::Sha512),
                _ => None,
            }
        }

        fn sign(&self, message: &[u8]) -> Vec<u8> {
            match self {
                Self::Sha256(mac) => tag(mac, message),
                Self::Sha384(mac) => tag(mac, message),
                Self::Sha512(mac) => tag(mac, message),
            }
        }

        fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            match self {
                Self::Sha256(mac) => matches(mac, message, signature),
                Self::Sha384(mac) => matches(mac, message, signature),
                Self::Sha512(mac) => matches(mac, message, signature),
            }
        }
    }

    fn tag<M: Mac + Clone>(mac: &M, message: &[u8]) -> Vec<u8> {
        mac.clone().chain_update(message).finalize().into_bytes().to_vec()
    }

    fn matches<M: Mac + Clone>(mac: &M, message: &[u8], signature: &[u8]) -> bool {
        mac.clone().chain_update(message).verify_slice(signature).is_ok()
    }

    fn foreign(algorithm: Algorithm) -> Option<Foreign> {
        Some(match algorithm {
            Algorithm::RS256 => Foreign::RS256,
            Algorithm::RS384 => Foreign::RS384,
            Algorithm::RS512 => Foreign::RS512,
            Algorithm::PS256 => Foreign::PS256,
            Algorithm::PS384 => Foreign::PS384,
            Algorithm::PS512 => Foreign::PS512,
            Algorithm::ES256 => Foreign::ES256,
            Algorithm::ES384 => Foreign::ES384,
            Algorithm::EdDSA => Foreign::EdDSA,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return None,
        })
    }
}
