//! The part that one cache has of a table.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::sync::{EntryAction, EntryResult};

use super::table::{ByteSize, Table};
use crate::credentials::token::Fingerprint;

/// A table of one cache, or the part that one cache has of a table that several share.
///
/// Two caches may hold the same token, with facts of their own. So each changes the digests by a
/// number that no other cache has: two keys of different caches are equal only where the other 24
/// bytes of two digests are, which is the same token.
pub(super) struct Part<T> {
    table: Arc<Table<T>>,
    /// Zero for a table that is not shared.
    number: AtomicU64,
}

/// The next number of a part.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl<T: Clone + ByteSize> Part<T> {
    /// Creates a table of its own.
    pub(super) fn whole(table: Table<T>) -> Self {
        Self { table: Arc::new(table), number: AtomicU64::new(0) }
    }

    /// Creates a part of `table`, without an entry.
    pub(super) fn of(table: &Arc<Table<T>>) -> Self {
        Self { table: Arc::clone(table), number: AtomicU64::new(next_number()) }
    }

    pub(super) fn get(&self, token: &Fingerprint) -> Option<T> {
        self.table.get(&self.key(token))
    }

    pub(super) fn peek(&self, token: &Fingerprint) -> Option<T> {
        self.table.peek(&self.key(token))
    }

    pub(super) fn insert(&self, token: Fingerprint, value: T) {
        self.table.insert(self.key(&token), value);
    }

    pub(super) fn remove(&self, token: &Fingerprint) -> Option<(Fingerprint, T)> {
        self.table.remove(&self.key(token))
    }

    pub(super) fn remove_if(
        &self,
        token: &Fingerprint,
        condition: impl FnOnce(&T) -> bool,
    ) -> Option<(Fingerprint, T)> {
        self.table.remove_if(&self.key(token), condition)
    }

    /// Returns the result of `change`, called with the entry of a token if there is one.
    pub(super) fn update<R>(
        &self,
        token: &Fingerprint,
        change: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let change = |_: &Fingerprint, entry: &mut T| EntryAction::Retain(change(entry));
        match self.table.entry(&self.key(token), Some(Duration::ZERO), change) {
            EntryResult::Retained(result) => Some(result),
            _ => None,
        }
    }

    /// Removes all entries. Those in a shared table can't be found any more, and make room when it
    /// is needed.
    pub(super) fn clear(&self) {
        if self.number.load(Ordering::Relaxed) == 0 {
            self.table.clear();
        } else {
            self.number.store(next_number(), Ordering::Relaxed);
        }
    }

    fn key(&self, token: &Fingerprint) -> Fingerprint {
        let mut digest = *token.as_bytes();
        let number = self.number.load(Ordering::Relaxed).to_le_bytes();
        for (byte, change) in digest.iter_mut().zip(number) {
            *byte ^= change;
        }
        Fingerprint::from_digest(digest)
    }
}

fn next_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}
