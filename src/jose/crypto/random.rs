//! Random bytes.

use super::backend::fill_random;

/// Returns random bytes from the operating system, or `None` if it provides none.
#[allow(dead_code, reason = "some sets of features need no randomness")]
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    fill_random(&mut bytes).then_some(bytes)
}
