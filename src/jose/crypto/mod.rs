//! The only room that names a cryptography crate.
//!
//! With both backends enabled AWS-LC does the work, so that enabling one more feature somewhere in
//! the tree never changes who checks signatures.

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

/// The SHA-256 digest of `data`.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    backend::sha256(data)
}

/// A new private key for an asymmetric algorithm, in PKCS#8.
#[cfg(feature = "checks")]
pub(crate) fn generate(algorithm: super::algorithm::Algorithm) -> Option<Vec<u8>> {
    backend::generate(algorithm)
}

/// Random bytes from the operating system, if it gives any.
#[allow(dead_code, reason = "some sets of features need no randomness")]
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    backend::fill_random(&mut bytes).then_some(bytes)
}
