//! The error of keys.

use std::{error::Error, fmt};

/// The reason why a key can't be used.
///
/// It reveals nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The text begins with a byte order mark, which JSON does not allow (RFC 8259 §8.1).
    ByteOrderMark,
    /// The text is not valid PEM, DER or JWK.
    Malformed,
    /// The key is not meant for verifying signatures (RFC 7517 §4.2, §4.3).
    NotForSignatures,
    /// The signature could not be created.
    SigningFailed,
    /// The set has more keys than are kept.
    TooManyKeys,
    /// The key is shorter than its algorithm allows (RFC 7518 §3.2, §3.3).
    TooShort,
    /// The name is not that of an [`Algorithm`](super::Algorithm).
    UnknownAlgorithm,
    /// The type, curve, size or encoding of the key is not supported.
    Unsupported,
    /// The key does not fit the algorithm it was given for.
    WrongAlgorithm,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByteOrderMark => "the text begins with a byte order mark",
            Self::Malformed => "the key is malformed",
            Self::NotForSignatures => "the key is not meant for verifying signatures",
            Self::SigningFailed => "the signature could not be created",
            Self::TooManyKeys => "the set has more keys than are kept",
            Self::TooShort => "the key is too short for its algorithm",
            Self::UnknownAlgorithm => "not a supported signature algorithm",
            Self::Unsupported => "the type of the key is not supported",
            Self::WrongAlgorithm => "the key does not fit the algorithm",
        })
    }
}

impl Error for KeyError {}
