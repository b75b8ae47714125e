//! A replay store in the memory of this process.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::store::{Mark, Marked, Marking, ReplayStore};
use crate::clock::{Moment, SystemClock, UnixTime};

/// The most memory that a mark takes, in bytes. It assumes the sparsest tables and the copy that
/// exists while they grow. `tests/it/dpop/replay.rs` measures it.
const MARK_BYTES: usize = 320;

const DEFAULT_BYTES: usize = 32 << 20;

/// The default capacity is about 100 000 marks; one key gets at most a sixth of it.
const DEFAULT_QUOTA: usize = 16 * 1024;

/// How many expired marks each new mark removes unless the store is full. The bound keeps a request
/// after a pause from removing all marks that expired in it.
const MAX_REMOVED_PER_MARK: usize = 64;

/// A [`ReplayStore`] in the memory of this process.
///
/// The default limits are 32 MiB in all, which is about 100 000 proofs within the time that a proof
/// is valid, and 16 384 proofs of one key. The store never evicts a mark to free space: if it is
/// full, requests are refused with [`ReplayUnavailable`](crate::ErrorKind::ReplayUnavailable) until
/// marks expire. A client that uses up its share affects only itself.
///
/// ```
/// use tower_introspect::proof::{Dpop, MemoryReplay};
///
/// // Up to 1000 requests a second from one client, for a minute.
/// let replay = MemoryReplay::new().max_bytes(256 << 20).max_proofs_of_a_key(60_000);
/// let dpop = Dpop::new("https://api.example.com")?.replay_store(replay);
/// # let _ = dpop;
/// # Ok::<(), tower_introspect::ConfigError>(())
/// ```
pub struct MemoryReplay {
    capacity: usize,
    quota: usize,
    start: Moment,
    table: Mutex<Table>,
}

impl MemoryReplay {
    /// Creates an empty store with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            capacity: DEFAULT_BYTES / MARK_BYTES,
            quota: DEFAULT_QUOTA,
            // Only the monotonic half is read, and that does not depend on the wall clock.
            start: Moment::now(&SystemClock),
            table: Mutex::default(),
        }
    }

    /// Sets how much memory all marks together may take, in bytes.
    ///
    /// The store does not allocate it in advance.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.capacity = bytes / MARK_BYTES;
        self
    }

    /// Sets how many proofs of one key are kept at a time.
    ///
    /// A proof is kept for at most the window and the time that `iat` may lie in the future
    /// ([`Dpop::max_ahead`](crate::proof::Dpop::max_ahead)), or for two nonce rotations if it carries a
    /// nonce.
    #[must_use]
    pub const fn max_proofs_of_a_key(mut self, quota: usize) -> Self {
        self.quota = quota;
        self
    }

    /// Returns the number of proofs that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).marks.len()
    }

    /// Returns true if no proof is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl MemoryReplay {
    fn check_capacity(&self, table: &Table, owner: &ShortDigest) -> Result<(), &'static str> {
        if table.marks.len() >= self.capacity {
            return Err("the replay store is full");
        }
        if table.owners.get(owner).is_some_and(|count| *count >= self.quota) || self.quota == 0 {
            return Err("the replay store holds too many proofs of one key");
        }
        Ok(())
    }
}

impl Default for MemoryReplay {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReplay")
            .field("capacity", &self.capacity)
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

impl ReplayStore for MemoryReplay {
    fn mark(&self, mark: Mark) -> Marking {
        let monotonic = mark.at.monotonic_since(self.start);
        let expiry = Expiry {
            until: mark.until,
            monotonic: monotonic.saturating_add(mark.keep_for()),
            key: short_digest(&mark.key),
            owner: short_digest(&mark.owner),
        };
        let now = mark.at.wall();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.remove_expired(now, monotonic, MAX_REMOVED_PER_MARK);
        if table.marks.contains(&expiry.key) {
            return Marking::done(Ok(Marked::Replayed));
        }
        let mut capacity = self.check_capacity(&table, &expiry.owner);
        if capacity.is_err() {
            table.remove_expired(now, monotonic, usize::MAX);
            capacity = self.check_capacity(&table, &expiry.owner);
        }
        if let Err(why) = capacity {
            return Marking::done(Err(why.into()));
        }
        *table.owners.entry(expiry.owner).or_default() += 1;
        table.marks.insert(expiry.key);
        table.expiries.push(Reverse(expiry));
        Marking::done(Ok(Marked::First))
    }
}

/// 128 bits of a digest. If two proofs of a key have the same half, the second is refused although
/// it is good; proofs of other keys are not affected.
type ShortDigest = [u8; 16];

fn short_digest(digest: &[u8; 32]) -> ShortDigest {
    let mut short = ShortDigest::default();
    short.copy_from_slice(&digest[..16]);
    short
}

#[derive(Default)]
struct Table {
    marks: HashSet<ShortDigest>,
    owners: HashMap<ShortDigest, usize>,
    expiries: BinaryHeap<Reverse<Expiry>>,
}

/// The time at which a mark may be removed: when both clocks have passed it. If the wall clock
/// steps forward and back again, an old proof becomes good once more, and its mark must still
/// exist.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Expiry {
    until: UnixTime,
    monotonic: Duration,
    key: ShortDigest,
    owner: ShortDigest,
}

impl Table {
    /// Removes up to `most` expired marks.
    fn remove_expired(&mut self, now: UnixTime, monotonic: Duration, most: usize) {
        let is_old =
            |Reverse(expiry): &Reverse<Expiry>| expiry.until < now && expiry.monotonic <= monotonic;
        for _ in 0..most {
            if !self.expiries.peek().is_some_and(is_old) {
                return;
            }
            let Some(Reverse(expiry)) = self.expiries.pop() else { return };
            self.marks.remove(&expiry.key);
            if let Some(count) = self.owners.get_mut(&expiry.owner) {
                *count -= 1;
                if *count == 0 {
                    self.owners.remove(&expiry.owner);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::FixedClock;

    /// Marks a proof at the wall-clock time `at`, to be kept until `until`.
    fn mark(store: &MemoryReplay, jkt: &str, jti: &str, at: i64, until: i64) -> Option<Marked> {
        let mark = Mark::new(jkt, jti, Moment::now(&FixedClock(at)), UnixTime::from_secs(until));
        store.mark(mark).now_or_later().ok()?.ok()
    }

    const FIRST: Option<Marked> = Some(Marked::First);
    const REPLAYED: Option<Marked> = Some(Marked::Replayed);

    #[tokio::test(start_paused = true)]
    async fn rfc9449_11_1_a_proof_is_marked_once_by_key_and_name() {
        let store = MemoryReplay::new();
        assert_eq!(mark(&store, "a", "1", 1000, 1060), FIRST);
        assert_eq!(mark(&store, "a", "1", 1000, 1060), REPLAYED);
        assert_eq!(mark(&store, "a", "1", 1001, 1099), REPLAYED);
        assert_eq!(mark(&store, "b", "1", 1000, 1060), FIRST);
        assert_eq!(mark(&store, "a", "2", 1000, 1060), FIRST);
        assert_eq!(store.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn mark_is_kept_until_both_clocks_have_passed_its_end() {
        let store = MemoryReplay::new();
        assert_eq!(mark(&store, "a", "1", 1000, 1060), FIRST);
        // The wall clock steps forward and back again.
        assert_eq!(mark(&store, "b", "1", 9000, 9060), FIRST);
        assert_eq!(mark(&store, "a", "1", 1000, 1060), REPLAYED);
        tokio::time::advance(Duration::from_secs(61)).await;
        // The wall clock stepped back, so the proof is still good by it.
        assert_eq!(mark(&store, "a", "1", 1060, 1060), REPLAYED);
        assert_eq!(mark(&store, "c", "1", 1061, 1121), FIRST);
        assert_eq!(store.len(), 2, "the first is forgotten, the one of the other time is not");
    }

    #[tokio::test(start_paused = true)]
    async fn key_that_exceeds_its_quota_does_not_affect_other_keys() {
        let store = MemoryReplay::new().max_proofs_of_a_key(3);
        for n in 0..3 {
            assert_eq!(mark(&store, "a", &n.to_string(), 1000, 1060), FIRST);
        }
        assert_eq!(mark(&store, "a", "3", 1000, 1060), None);
        assert_eq!(mark(&store, "a", "0", 1000, 1060), REPLAYED, "what is known is told");
        assert_eq!(mark(&store, "b", "0", 1000, 1060), FIRST);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(mark(&store, "a", "3", 1061, 1121), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn full_store_refuses_new_marks_and_drops_none() {
        let store = MemoryReplay::new().max_bytes(4 * MARK_BYTES);
        for n in 0..4 {
            assert_eq!(mark(&store, &n.to_string(), "1", 1000, 1060), FIRST);
        }
        assert_eq!(mark(&store, "new", "1", 1000, 1060), None);
        for n in 0..4 {
            assert_eq!(mark(&store, &n.to_string(), "1", 1000, 1060), REPLAYED);
        }
        assert_eq!(store.len(), 4);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(mark(&store, "new", "1", 1061, 1121), FIRST);
        assert_eq!(store.len(), 1);
    }
}
