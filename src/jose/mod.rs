//! JOSE primitives: algorithms, keys, signatures.

pub(crate) mod crypto;

#[cfg(feature = "jwt")]
mod algorithm;
#[cfg(feature = "jwt")]
mod error;
#[cfg(feature = "jwt")]
pub(crate) mod header;
#[cfg(feature = "jwt")]
pub(crate) mod jwk;
#[cfg(feature = "jwt")]
pub(crate) mod jws;
#[cfg(feature = "jwt")]
pub(crate) mod key;
#[cfg(feature = "jwt")]
pub(crate) mod pem;
#[cfg(feature = "jwt")]
mod signing;

#[cfg(feature = "jwt")]
pub(crate) use self::algorithm::KeyType;
#[cfg(feature = "jwt")]
pub use self::{
    algorithm::{Algorithm, UnknownAlgorithm},
    error::KeyError,
    signing::SigningKey,
};

/// base64url as JOSE wants it: no padding, no stray bits (RFC 7515 §2, RFC 4648 §3.5).
#[cfg(feature = "jwt")]
pub(crate) const BASE64URL: base64::engine::GeneralPurpose =
    base64::engine::general_purpose::URL_SAFE_NO_PAD;
