//! The age of verdicts.

use std::time::Duration;

/// The longest time between the verdict on a request and its call of the inner service.
///
/// Meanwhile a token may expire, be revoked, or lose its key. A request that waited for longer, for
/// the inner service or for a store of used proofs, is decided anew.
pub(super) const MAX_VERDICT_AGE: Duration = Duration::from_secs(1);
