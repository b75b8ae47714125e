//! Tables of what is remembered, bounded in number and in bytes.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

use quick_cache::{
    Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::credentials::Fingerprint;

/// What a place in a table takes, besides what it holds: links, its part of the index, and what is held
/// ready.
const PLACE: usize = 72;

/// What is found by the digest of its token.
pub(super) type Table<T> = Cache<Fingerprint, T, Weight, Keyed, DefaultLifecycle<Fingerprint, T>>;

/// What takes memory of its own.
pub(super) trait Weighs {
    /// How much, its place in the table included.
    fn bytes(&self) -> u64;
}

/// A table for at most `entries` that take at most `bytes` together, hardly one less than `least`.
pub(super) fn table<T: Clone + Weighs>(
    entries: usize,
    bytes: u64,
    least: u64,
    keyed: Keyed,
) -> Table<T> {
    // The table knows one bound, a weight. That no entry weighs less than its share of the bytes makes
    // it a bound on the number too.
    let weight = Weight { least: (bytes / size(entries)).max(1) };
    // The table also remembers digests of what it dropped, half as many as it is told to expect: no
    // more than there is memory for.
    let expected = usize::try_from(bytes / least).map_or(entries, |room| room.min(entries));
    Cache::with(expected.max(1), bytes, weight, keyed, DefaultLifecycle::default())
}

/// What an entry takes in a table, without what it points to.
pub(super) const fn place<T>() -> usize {
    size_of::<Fingerprint>() + size_of::<T>() + PLACE
}

pub(super) fn size(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy)]
pub(super) struct Weight {
    least: u64,
}

impl<T: Weighs> Weighter<Fingerprint, T> for Weight {
    fn weight(&self, _: &Fingerprint, entry: &T) -> u64 {
        entry.bytes().max(self.least)
    }
}

/// Hashes digests, which are as good as random already. Two secret words keep anyone from choosing
/// tokens that fall together.
#[derive(Clone, Copy)]
pub(super) struct Keyed([u64; 2]);

impl Keyed {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0), random.hash_one(1)])
    }
}

impl BuildHasher for Keyed {
    type Hasher = Digest;

    fn build_hasher(&self) -> Digest {
        Digest { secret: self.0, hash: 0 }
    }
}

pub(super) struct Digest {
    secret: [u64; 2],
    hash: u64,
}

impl Hasher for Digest {
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
