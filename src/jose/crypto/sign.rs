//! Signatures.

use jsonwebtoken::EncodingKey;

use super::backend::keys::PROVIDER;
use crate::jose::algorithm::Algorithm;

/// Returns the signature of `message`. Returns `None` if the key does not fit the algorithm.
///
/// Names the provider: the process-wide default of `jsonwebtoken`, which its `encode` uses, panics
/// where two crates enable different backends.
pub(crate) fn sign(algorithm: Algorithm, key: &EncodingKey, message: &[u8]) -> Option<Vec<u8>> {
    let algorithm = algorithm.as_str().parse().ok()?;
    (PROVIDER.signer_factory)(&algorithm, key).ok()?.try_sign(message).ok()
}
