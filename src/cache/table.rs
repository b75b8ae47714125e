//! Tables of cache entries, bounded in number and in bytes.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

use quick_cache::{
    Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::credentials::token::Fingerprint;

/// The overhead of an entry in a table, in bytes: links, its part of the index, and spare capacity.
const ENTRY_OVERHEAD: usize = 72;

/// A table keyed by the digest of a token.
pub(super) type Table<T> =
    Cache<Fingerprint, T, EntryWeighter, KeyedBuildHasher, DefaultLifecycle<Fingerprint, T>>;

/// A value with memory of its own.
pub(super) trait ByteSize {
    /// Returns the size in bytes, its place in the table included.
    fn bytes(&self) -> u64;
}

/// Creates a table for at most `entries` that take at most `bytes` together. Hardly any entry takes
/// less than `min_entry_bytes`.
pub(super) fn table<T: Clone + ByteSize>(
    entries: usize,
    bytes: u64,
    min_entry_bytes: u64,
    hasher: KeyedBuildHasher,
) -> Table<T> {
    // `quick_cache` has one bound, the total weight. Each entry weighs at least its share of the
    // bytes, so the weight also bounds the number.
    let weighter = EntryWeighter { min_weight: (bytes / to_u64(entries)).max(1) };
    // The table also keeps digests of dropped entries, half as many as it expects entries. So it
    // must not expect more entries than the bytes allow.
    let expected =
        usize::try_from(bytes / min_entry_bytes).map_or(entries, |room| room.min(entries));
    Cache::with(expected.max(1), bytes, weighter, hasher, DefaultLifecycle::default())
}

/// Returns the size in bytes of an entry in a table, without the memory it points to.
pub(super) const fn entry_size<T>() -> usize {
    size_of::<Fingerprint>() + size_of::<T>() + ENTRY_OVERHEAD
}

pub(super) fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy)]
pub(super) struct EntryWeighter {
    min_weight: u64,
}

impl<T: ByteSize> Weighter<Fingerprint, T> for EntryWeighter {
    fn weight(&self, _: &Fingerprint, entry: &T) -> u64 {
        entry.bytes().max(self.min_weight)
    }
}

/// Hashes digests, which are uniformly distributed already. Two secret keys keep a client from
/// choosing tokens that collide.
#[derive(Clone, Copy)]
pub(super) struct KeyedBuildHasher([u64; 2]);

impl KeyedBuildHasher {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0), random.hash_one(1)])
    }
}

impl BuildHasher for KeyedBuildHasher {
    type Hasher = DigestHasher;

    fn build_hasher(&self) -> DigestHasher {
        DigestHasher { secret: self.0, hash: 0 }
    }
}

pub(super) struct DigestHasher {
    secret: [u64; 2],
    hash: u64,
}

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8).map(|word| {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            u64::from_le_bytes(eight)
        });
        let (first, second) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
        let [left, right] = self.secret;
        let product = u128::from(first ^ left) * u128::from(second ^ right);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        let folded = (product as u64) ^ (product >> 64) as u64;
        self.hash ^= folded;
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}
