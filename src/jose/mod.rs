//! JOSE primitives: algorithms, keys and signatures.

pub(crate) mod crypto;

#[cfg(feature = "_jose")]
pub(crate) mod algorithm;
#[cfg(feature = "_jose")]
pub(crate) mod error;
#[cfg(feature = "_jose")]
pub(crate) mod header;
#[cfg(feature = "_jose")]
pub(crate) mod jwk;
#[cfg(feature = "_jose")]
pub(crate) mod jws;
#[cfg(feature = "_jose")]
pub(crate) mod key;
#[cfg(feature = "jwt")]
pub(crate) mod pem;
#[cfg(feature = "jwt")]
pub(crate) mod signing;

#[cfg(feature = "jwt")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub use self::signing::SigningKey;
#[cfg(feature = "_jose")]
pub use self::{
    algorithm::{Algorithm, UnknownAlgorithm},
    error::KeyError,
};

/// The base64url encoding of JOSE: without padding or stray bits (RFC 7515 §2, RFC 4648 §3.5).
#[cfg(feature = "_jose")]
pub(crate) const BASE64URL: base64::engine::GeneralPurpose =
    base64::engine::general_purpose::URL_SAFE_NO_PAD;
