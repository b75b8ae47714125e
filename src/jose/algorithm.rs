//! Signature algorithms.

use std::{fmt, str::FromStr};

use super::error::KeyError;

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
///
/// `none` is not supported, and no algorithm beyond this list can be enabled.
///
/// ```
/// use tower_introspect::jose::Algorithm;
///
/// assert_eq!("ES256".parse(), Ok(Algorithm::ES256));
/// assert!("none".parse::<Algorithm>().is_err());
/// assert!("es256".parse::<Algorithm>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519, named `EdDSA` (RFC 8037) or `Ed25519` (RFC 9864).
    EdDSA,
    /// HMAC with SHA-256, for a secret shared with the issuer.
    HS256,
    /// HMAC with SHA-384, for a secret shared with the issuer.
    HS384,
    /// HMAC with SHA-512, for a secret shared with the issuer.
    HS512,
}

/// The type of a key. A key is never used with an algorithm of another type (RFC 8725 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    Ed25519,
    P256,
    P384,
    Rsa,
    Secret,
}

impl Algorithm {
    /// All algorithms that verify with a public key.
    pub(crate) const ASYMMETRIC: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    const SYMMETRIC: [Self; 3] = [Self::HS256, Self::HS384, Self::HS512];

    /// Returns the name of the algorithm in the header of a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    pub(crate) const fn key_type(self) -> KeyType {
        match self {
            Self::RS256 | Self::RS384 | Self::RS512 => KeyType::Rsa,
            Self::PS256 | Self::PS384 | Self::PS512 => KeyType::Rsa,
            Self::ES256 => KeyType::P256,
            Self::ES384 => KeyType::P384,
            Self::EdDSA => KeyType::Ed25519,
            Self::HS256 | Self::HS384 | Self::HS512 => KeyType::Secret,
        }
    }

    /// Returns the minimum length of a secret in bytes: that of the hash (RFC 7518 §3.2).
    pub(crate) const fn min_secret_len(self) -> usize {
        match self {
            Self::HS384 => 48,
            Self::HS512 => 64,
            _ => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    /// Parses the name of an algorithm, which is case-sensitive (RFC 7515 §4.1.1).
    fn from_str(name: &str) -> Result<Self, KeyError> {
        if name == "Ed25519" {
            return Ok(Self::EdDSA);
        }
        Self::ASYMMETRIC
            .into_iter()
            .chain(Self::SYMMETRIC)
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(KeyError::UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7518_3_6_none_is_refused_in_every_spelling() {
        for name in ["none", "None", "NONE", "nOnE", "ｎｏｎｅ", "", "rs256", "RS256 ", "ES512"]
        {
            assert!(name.parse::<Algorithm>().is_err(), "{name}");
        }
    }

    #[test]
    fn rfc9864_ed25519_is_another_name_of_eddsa() {
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDSA));
        assert_eq!("EdDSA".parse(), Ok(Algorithm::EdDSA));
        assert!("Ed448".parse::<Algorithm>().is_err());
    }

    #[test]
    fn algorithm_names_parse_to_the_same_algorithm() {
        for algorithm in Algorithm::ASYMMETRIC.into_iter().chain(Algorithm::SYMMETRIC) {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
    }
}
