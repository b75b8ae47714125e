//! Local verification of JWT access tokens.

pub(crate) mod keys;

pub use self::keys::KeySet;
pub use crate::jose::{Algorithm, KeyError, SigningKey};
