//! Stores facts and refusals, bounded in number and in bytes.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::sync::{EntryAction, EntryResult};

use super::table::{ByteSize, KeyedBuildHasher, Table, entry_size, table, to_u64};
use crate::{
    clock::Moment, credentials::token::Fingerprint, error::refusal::VerifyError,
    verify::active::ActiveToken,
};

/// The size in bytes that hardly any entry falls below.
const MIN_ENTRY_BYTES: u64 = 512;

/// The share of refusals, in number and in bytes: one for this many facts. Refusals have a table of
/// their own, so that made-up tokens can't push out good ones.
const FACTS_PER_REFUSAL: usize = 10;

/// The maximum length of `Store::shared`. Refusals without data of their request come in fewer kinds
/// than this.
const MAX_SHARED_REFUSALS: usize = 64;

/// Facts and refusals, each keyed by the digest of its token.
pub(super) struct Store {
    facts: Table<Entry>,
    refusals: Table<Refusal>,
    /// Refusals shared by entries, because many are equal.
    shared: Mutex<Vec<VerifyError>>,
    /// The sum over all entries.
    used_bytes: Arc<AtomicU64>,
}

/// Cached facts.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) active: ActiveToken,
    accounting: Accounting,
}

impl Entry {
    /// Returns true if a refresh of these facts has begun.
    pub(super) const fn is_refreshing(&self) -> bool {
        self.accounting.refreshing
    }
}

/// A cached refusal.
#[derive(Clone)]
pub(super) struct Refusal {
    pub(super) error: VerifyError,
    pub(super) verified_at: Moment,
    accounting: Accounting,
}

/// The bytes that an entry adds to `Store::used_bytes`. Only the entry in the table counts: a clone
/// does not.
struct Accounting {
    used_bytes: Option<Arc<AtomicU64>>,
    bytes: u32,
    /// True if a refresh has begun. Only facts are refreshed. The flag is here because the padding
    /// holds it: in `Entry` it would take eight bytes.
    refreshing: bool,
}

impl Accounting {
    fn new(bytes: usize, used_bytes: &Arc<AtomicU64>) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        used_bytes.fetch_add(bytes.into(), Ordering::Relaxed);
        Self { used_bytes: Some(Arc::clone(used_bytes)), bytes, refreshing: false }
    }
}

impl ByteSize for Entry {
    fn bytes(&self) -> u64 {
        self.accounting.bytes.into()
    }
}

impl ByteSize for Refusal {
    fn bytes(&self) -> u64 {
        self.accounting.bytes.into()
    }
}

impl Clone for Accounting {
    fn clone(&self) -> Self {
        Self { used_bytes: None, ..*self }
    }
}

impl Drop for Accounting {
    fn drop(&mut self) {
        if let Some(used_bytes) = &self.used_bytes {
            used_bytes.fetch_sub(self.bytes.into(), Ordering::Relaxed);
        }
    }
}

impl Store {
    /// Creates a store for at most `entries` facts, and a share of refusals, that take at most
    /// `bytes` together.
    pub(super) fn new(entries: usize, bytes: u64) -> Self {
        let entries = entries.max(1);
        let refusals = (entries / FACTS_PER_REFUSAL).max(16);
        let each = to_u64(entry_size::<Refusal>());
        let for_refusals =
            to_u64(refusals).saturating_mul(each).min(bytes / to_u64(FACTS_PER_REFUSAL));
        let hasher = KeyedBuildHasher::new();
        Self {
            facts: table(entries, bytes - for_refusals, MIN_ENTRY_BYTES, hasher),
            refusals: table(refusals, for_refusals, each, hasher),
            shared: Mutex::default(),
            used_bytes: Arc::default(),
        }
    }

    pub(super) fn facts(&self, token: &Fingerprint) -> Option<Entry> {
        self.facts.get(token)
    }

    pub(super) fn refusal(&self, token: &Fingerprint) -> Option<Refusal> {
        self.refusals.get(token)
    }

    /// Caches facts, unless something newer is cached.
    pub(super) fn insert(&self, token: &Fingerprint, active: ActiveToken) {
        let newer = |at: Moment| active.verified_at().is_before(at);
        if self.refusals.peek(token).is_some_and(|refusal| newer(refusal.verified_at))
            || self.facts.peek(token).is_some_and(|entry| newer(entry.active.verified_at()))
        {
            return;
        }
        let accounting = Accounting::new(entry_size::<Entry>() + active.bytes(), &self.used_bytes);
        self.facts.insert(*token, Entry { active, accounting });
        self.refusals.remove(token);
    }

    /// Caches a refusal, unless something newer is cached.
    pub(super) fn insert_refusal(
        &self,
        token: &Fingerprint,
        error: &VerifyError,
        verified_at: Moment,
    ) {
        let newer = |at: Moment| verified_at.is_before(at);
        if self.facts.peek(token).is_some_and(|entry| newer(entry.active.verified_at()))
            || self.refusals.peek(token).is_some_and(|before| newer(before.verified_at))
        {
            return;
        }
        let shared = self.shared(error);
        let own = if shared.is_some() { 0 } else { error.bytes() };
        let accounting = Accounting::new(entry_size::<Refusal>() + own, &self.used_bytes);
        let error = shared.unwrap_or_else(|| error.clone());
        self.refusals.insert(*token, Refusal { error, verified_at, accounting });
        self.facts.remove(token);
    }

    /// Returns a shared refusal equal to this one, if it can be shared.
    fn shared(&self, error: &VerifyError) -> Option<VerifyError> {
        if !error.is_shareable() {
            return None;
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let same = shared.iter().find(|one| one.equals_shareable(error)).cloned();
        same.or_else(|| {
            let has_room = shared.len() < MAX_SHARED_REFUSALS;
            has_room.then(|| shared.push(error.clone())).map(|()| error.clone())
        })
    }

    /// Claims the one refresh of this entry. Returns false if it was claimed before, or if the entry
    /// was replaced.
    pub(super) fn begin_refresh(&self, token: &Fingerprint, entry: &Entry) -> bool {
        // `entry` is a copy from the table: if it was claimed when copied, no lock is needed.
        if entry.is_refreshing() {
            return false;
        }
        let begin = |_: &Fingerprint, kept: &mut Entry| {
            let first = kept.active.ptr_eq(&entry.active) && !kept.accounting.refreshing;
            kept.accounting.refreshing |= first;
            EntryAction::Retain(first)
        };
        let begun = self.facts.entry(token, Some(Duration::ZERO), begin);
        matches!(begun, EntryResult::Retained(true))
    }

    /// Removes these facts, unless others have replaced them.
    pub(super) fn remove_entry(&self, token: &Fingerprint, entry: &Entry) -> bool {
        self.facts.remove_if(token, |kept| kept.active.ptr_eq(&entry.active)).is_some()
    }

    /// Removes the facts and the refusal of a token. Returns true if there were any.
    pub(super) fn evict(&self, token: &Fingerprint) -> bool {
        let facts = self.facts.remove(token).is_some();
        self.refusals.remove(token).is_some() || facts
    }

    pub(super) fn clear(&self) {
        self.facts.clear();
        self.refusals.clear();
    }

    pub(super) fn entries(&self) -> u64 {
        to_u64(self.facts.len() + self.refusals.len())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("entries", &self.entries()).finish_non_exhaustive()
    }
}
