//! The senders of requests that wait for a fetch.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    mem,
    sync::LazyLock,
};

/// The maximum number of askers in one generation of a table.
const MAX_ASKERS: usize = 5_000;

/// The party that a fetch is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// This service.
    Own,
    /// A peer that sent a request, by a hash of its key.
    Peer(u64),
    /// All peers that are not known.
    UnknownPeer,
}

impl Asker {
    pub(crate) fn peer(key: Option<impl Hash>) -> Self {
        // Randomly keyed, so that a client can't choose keys with the same hash.
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        key.map_or(Self::UnknownPeer, |key| Self::Peer(KEY.hash_one(key)))
    }
}

/// A bounded table of the askers that were noted last.
///
/// Holds two generations. If the newer is full, the older is forgotten.
pub(crate) struct RecentAskers<T> {
    newer: HashMap<Asker, T>,
    older: HashMap<Asker, T>,
}

impl<T: Copy> RecentAskers<T> {
    pub(crate) fn get(&self, asker: Asker) -> Option<T> {
        self.newer.get(&asker).or_else(|| self.older.get(&asker)).copied()
    }

    pub(crate) fn note(&mut self, asker: Asker, value: T) {
        if self.newer.len() >= MAX_ASKERS && !self.newer.contains_key(&asker) {
            self.older = mem::take(&mut self.newer);
        }
        self.newer.insert(asker, value);
    }
}

impl<T> Default for RecentAskers<T> {
    fn default() -> Self {
        Self { newer: HashMap::new(), older: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn askers_seen_last_are_kept_and_their_number_is_bounded() {
        let mut recent = RecentAskers::default();
        let often = Asker::peer(Some("often"));
        for at in 0..100_000_u64 {
            recent.note(often, 0);
            recent.note(Asker::Peer(at), at);
        }
        assert_eq!(recent.get(often), Some(0));
        assert_eq!(recent.get(Asker::Peer(99_999)), Some(99_999));
        assert_eq!((recent.get(Asker::Peer(1)), recent.get(Asker::UnknownPeer)), (None, None));
        assert!(recent.newer.len() + recent.older.len() <= 2 * MAX_ASKERS);
    }
}
