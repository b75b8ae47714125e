//! Where facts and refusals are kept, bounded in number and in bytes.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use quick_cache::{
    Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{clock::Moment, credentials::Fingerprint, error::VerifyError, verify::ActiveToken};

/// What an entry takes besides the claims: key, counters, pointers, and its place in the table.
const OVERHEAD: usize = 256;

/// Hardly any entry takes less.
const LEAST: u64 = 512;

/// Of the number of facts, this share of refusals is remembered, in a place of their own: whatever is
/// made up of random tokens pushes no good one out.
const REFUSALS: usize = 10;

/// Facts and refusals, each found by the digest of its token.
pub(super) struct Store {
    facts: Cache<Key, Arc<Entry>, Weight, Keyed, DefaultLifecycle<Key, Arc<Entry>>>,
    refusals: Cache<Key, Refusal, UnitWeight, Keyed, DefaultLifecycle<Key, Refusal>>,
    held: Arc<AtomicU64>,
}

/// Remembered facts.
pub(super) struct Entry {
    pub(super) active: ActiveToken,
    /// Set by the first who finds them worth a verification ahead of time.
    pub(super) refreshing: AtomicBool,
    bytes: u64,
    held: Arc<AtomicU64>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A remembered refusal.
#[derive(Clone)]
pub(super) struct Refusal {
    pub(super) error: VerifyError,
    pub(super) verified_at: Moment,
}

impl Store {
    /// At most `entries` facts that take at most `bytes` together.
    pub(super) fn new(entries: usize, bytes: u64) -> Self {
        let entries = entries.max(1);
        let count = u64::try_from(entries).unwrap_or(u64::MAX);
        // The table knows one bound, a weight. That no entry weighs less than its share of the bytes
        // makes it a bound on the number too.
        let weight = Weight { least: (bytes / count).max(1) };
        let keyed = Keyed::new();
        let refusals = (entries / REFUSALS).max(16);
        // The table also remembers digests of what it dropped, half as many as it is told to expect: no
        // more than there is memory for.
        let expected = usize::try_from(bytes / LEAST).map_or(entries, |room| room.min(entries));
        Self {
            facts: Cache::with(expected.max(1), bytes, weight, keyed, DefaultLifecycle::default()),
            refusals: Cache::with(
                refusals,
                u64::try_from(refusals).unwrap_or(u64::MAX),
                UnitWeight,
                keyed,
                DefaultLifecycle::default(),
            ),
            held: Arc::default(),
        }
    }

    pub(super) fn facts(&self, token: &Fingerprint) -> Option<Arc<Entry>> {
        self.facts.get(&Key(*token))
    }

    pub(super) fn refusal(&self, token: &Fingerprint) -> Option<Refusal> {
        self.refusals.get(&Key(*token))
    }

    /// Remembers facts, unless something newer is known.
    pub(super) fn keep(&self, token: &Fingerprint, active: ActiveToken) {
        let key = Key(*token);
        let newer = |at: Moment| active.verified_at().is_before(at);
        if self.refusals.peek(&key).is_some_and(|refusal| newer(refusal.verified_at))
            || self.facts.peek(&key).is_some_and(|entry| newer(entry.active.verified_at()))
        {
            return;
        }
        let size = active.claims().bytes() + active.issuer().len() + OVERHEAD;
        let bytes = u64::try_from(size).unwrap_or(u64::MAX);
        self.held.fetch_add(bytes, Ordering::Relaxed);
        let held = Arc::clone(&self.held);
        let refreshing = AtomicBool::new(false);
        self.facts.insert(key, Arc::new(Entry { active, refreshing, bytes, held }));
        self.refusals.remove(&key);
    }

    /// Remembers a refusal, unless something newer is known.
    pub(super) fn keep_refusal(&self, token: &Fingerprint, refusal: Refusal) {
        let key = Key(*token);
        let newer = |at: Moment| refusal.verified_at.is_before(at);
        if self.facts.peek(&key).is_some_and(|entry| newer(entry.active.verified_at()))
            || self.refusals.peek(&key).is_some_and(|before| newer(before.verified_at))
        {
            return;
        }
        self.refusals.insert(key, refusal);
        self.facts.remove(&key);
    }

    /// Forgets these facts, unless others have taken their place.
    pub(super) fn drop_entry(&self, token: &Fingerprint, entry: &Arc<Entry>) -> bool {
        self.facts.remove_if(&Key(*token), |kept| Arc::ptr_eq(kept, entry)).is_some()
    }

    /// Forgets all about a token.
    pub(super) fn evict(&self, token: &Fingerprint) -> bool {
        let key = Key(*token);
        let facts = self.facts.remove(&key).is_some();
        self.refusals.remove(&key).is_some() || facts
    }

    pub(super) fn clear(&self) {
        self.facts.clear();
        self.refusals.clear();
    }

    pub(super) fn entries(&self) -> u64 {
        u64::try_from(self.facts.len() + self.refusals.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("entries", &self.entries()).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key(Fingerprint);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

#[derive(Clone, Copy)]
struct Weight {
    least: u64,
}

impl Weighter<Key, Arc<Entry>> for Weight {
    fn weight(&self, _: &Key, entry: &Arc<Entry>) -> u64 {
        entry.bytes.max(self.least)
    }
}

#[derive(Clone, Copy)]
struct UnitWeight;

impl Weighter<Key, Refusal> for UnitWeight {
    fn weight(&self, _: &Key, _: &Refusal) -> u64 {
        1
    }
}

/// Hashes digests, which are as good as random already. Two secret words keep anyone from choosing
/// tokens that fall together.
#[derive(Clone, Copy)]
struct Keyed([u64; 2]);

impl Keyed {
    fn new() -> Self {
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

struct Digest {
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
