//! JOSE primitives: algorithms, keys and signatures.

pub(crate) mod crypto;

#[cfg(feature = "_jose")]
pub(crate) mod algorithm;
#[cfg(feature = "_jose")]
pub(crate) mod base64url;
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
#[cfg(feature = "_jose")]
pub(crate) mod public_key;
#[cfg(feature = "jwt")]
pub(crate) mod signing;

#[cfg(feature = "jwt")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub use self::signing::SigningKey;
#[cfg(feature = "_jose")]
pub use self::{algorithm::Algorithm, error::KeyError};
