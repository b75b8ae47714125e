//! Recognises signals that were delivered before.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    mem,
};

/// The maximum number of signals in one generation.
const MAX_SIGNALS: usize = 8192;

/// A bounded set of the signals that were applied last.
///
/// A signal is known by the text that its signature covers, not by its `jti` alone: a sender that
/// uses a `jti` twice loses nothing. It holds two generations. If the newer is full, the older is
/// forgotten, and a signal from before would be applied again, which is harmless.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Randomly keyed, so that no sender can choose signals with the same hash.
    hasher: RandomState,
    newer: HashSet<u64>,
    older: HashSet<u64>,
}

impl Applied {
    /// Returns true if a signal was applied.
    pub(super) fn contains(&self, signed: &str) -> bool {
        let hash = self.hasher.hash_one(signed);
        self.newer.contains(&hash) || self.older.contains(&hash)
    }

    /// Adds a signal. Returns false if it was there.
    pub(super) fn insert(&mut self, signed: &str) -> bool {
        if self.contains(signed) {
            return false;
        }
        let hash = self.hasher.hash_one(signed);
        if self.newer.len() >= MAX_SIGNALS {
            self.older = mem::take(&mut self.newer);
        }
        self.newer.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_applied_last_are_known_and_their_number_is_bounded() {
        let mut applied = Applied::default();
        for n in 0..3 * MAX_SIGNALS {
            assert!(applied.insert(&n.to_string()));
            assert!(!applied.insert(&n.to_string()));
        }
        assert!(!applied.insert(&(2 * MAX_SIGNALS).to_string()));
        assert!(applied.newer.len() + applied.older.len() <= 2 * MAX_SIGNALS);
    }
}
