//! The cryptography backends. No other module names a cryptography crate.
//!
//! If both backends are enabled, AWS-LC is used. So in a build with AWS-LC, another crate that
//! enables one more feature does not change the backend that checks signatures.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc-rs")))]
mod rust_crypto;

#[cfg(feature = "aws-lc-rs")]
use self::aws_lc as backend;
#[cfg(feature = "dpop")]
pub(crate) use self::backend::verify_once;
#[cfg(feature = "_jose")]
pub(crate) use self::backend::{MAX_RSA_BITS, Signer, Verifier};
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc-rs")))]
use self::rust_crypto as backend;

/// Returns the SHA-256 digest of `data`.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    backend::sha256(data)
}

/// Generates a private key for an asymmetric algorithm, in PKCS#8.
#[cfg(feature = "checks")]
pub(crate) fn generate(algorithm: super::algorithm::Algorithm) -> Option<Vec<u8>> {
    backend::generate(algorithm)
}

/// Returns random bytes from the operating system, or `None` if it provides none.
#[allow(dead_code, reason = "some sets of features need no randomness")]
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    backend::fill_random(&mut bytes).then_some(bytes)
}
