//! The cryptography backends. No other module names a cryptography crate, but for the private keys
//! of `jsonwebtoken`, which signs with both backends.
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
pub(crate) use self::backend::{MAX_RSA_BITS, PROVIDER, Verifier};
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc-rs")))]
use self::rust_crypto as backend;

/// Returns the SHA-256 digest of `data`.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    backend::sha256(data)
}

/// Returns the signature of `message`. Returns `None` if the key does not fit the algorithm.
///
/// Names the provider: the process-wide default of `jsonwebtoken`, which its `encode` uses, panics
/// where two crates enable different backends.
#[cfg(feature = "_jose")]
pub(crate) fn sign(
    algorithm: super::algorithm::Algorithm,
    key: &jsonwebtoken::EncodingKey,
    message: &[u8],
) -> Option<Vec<u8>> {
    let algorithm = algorithm.as_str().parse().ok()?;
    (PROVIDER.signer_factory)(&algorithm, key).ok()?.try_sign(message).ok()
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
