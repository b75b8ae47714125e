//! The cache that stores the outcome of a verification.

use std::{fmt, sync::Weak};

use super::active::ActiveToken;
use crate::{clock::Moment, credentials::token::Token, error::refusal::VerifyError};

/// The same as in `verifier`, which stands above this file.
type Outcome = Result<ActiveToken, VerifyError>;

/// A cache that keeps the outcome of a verification before anyone else learns of it.
///
/// A request that comes right after the outcome then finds it in the cache, and causes no further
/// verification.
#[derive(Clone)]
pub(crate) struct Keeper {
    pub(crate) cache: Weak<dyn Keep>,
    pub(crate) started: Moment,
    /// The number of evictions before the start.
    pub(crate) evictions: u64,
}

/// The part of a cache that a [`Keeper`] calls.
pub(crate) trait Keep: Send + Sync {
    /// Keeps the outcome of a verification, unless an eviction came after its start.
    fn keep(&self, token: &Token, started: Moment, evictions: u64, outcome: &Outcome);
}

impl Keeper {
    #[cfg(feature = "_crypto")]
    pub(crate) fn keep(&self, token: &Token, outcome: &Outcome) {
        if let Some(cache) = self.cache.upgrade() {
            cache.keep(token, self.started, self.evictions, outcome);
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}
