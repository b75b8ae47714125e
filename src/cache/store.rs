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

use super::table::{Keyed, Table, Weighs, place, size, table};
use crate::{
    clock::Moment, credentials::token::Fingerprint, error::refusal::VerifyError,
    verify::active::ActiveToken,
};

/// The size in bytes that hardly any entry falls below.
const LEAST: u64 = 512;

/// The share of refusals, in number and in bytes: one for this many facts. Refusals have a table of
/// their own, so that made-up tokens can't push out good ones.
const REFUSALS: usize = 10;

/// The most distinct refusals that entries share. There are no more refusals without per-request
/// data.
const SHARED: usize = 64;

/// Facts and refusals, each keyed by the digest of its token.
pub(super) struct Store {
    facts: Table<Entry>,
    refusals: Table<Refusal>,
    /// Refusals shared by entries, because many are equal.
    shared: Mutex<Vec<VerifyError>>,
    held: Arc<AtomicU64>,
}

/// Cached facts.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) active: ActiveToken,
    part: Part,
}

impl Entry {
    /// Returns true if a verification of these facts ahead of time has begun.
    pub(super) const fn is_refreshing(&self) -> bool {
        self.part.refreshing
    }
}

/// A cached refusal.
#[derive(Clone)]
pub(super) struct Refusal {
    pub(super) error: VerifyError,
    pub(super) verified_at: Moment,
    part: Part,
}

/// The bytes that an entry adds to `Store::held`. Only the entry in the table counts: a clone does
/// not.
struct Part {
    held: Option<Arc<AtomicU64>>,
    bytes: u32,
    /// True if a verification ahead of time has begun.
    refreshing: bool,
}

impl Part {
    fn new(bytes: usize, held: &Arc<AtomicU64>) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        held.fetch_add(bytes.into(), Ordering::Relaxed);
        Self { held: Some(Arc::clone(held)), bytes, refreshing: false }
    }
}

impl Weighs for Entry {
    fn bytes(&self) -> u64 {
        self.part.bytes.into()
    }
}

impl Weighs for Refusal {
    fn bytes(&self) -> u64 {
        self.part.bytes.into()
    }
}

impl Clone for Part {
    fn clone(&self) -> Self {
        Self { held: None, ..*self }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            held.fetch_sub(self.bytes.into(), Ordering::Relaxed);
        }
    }
}

impl Store {
    /// Creates a store for at most `entries` facts, and a share of refusals, that take at most
    /// `bytes` together.
    pub(super) fn new(entries: usize, bytes: u64) -> Self {
        let entries = entries.max(1);
        let refusals = (entries / REFUSALS).max(16);
        let each = size(place::<Refusal>());
        let for_refusals = size(refusals).saturating_mul(each).min(bytes / size(REFUSALS));
        let keyed = Keyed::new();
        Self {
            facts: table(entries, bytes - for_refusals, LEAST, keyed),
            refusals: table(refusals, for_refusals, each, keyed),
            shared: Mutex::default(),
            held: Arc::default(),
        }
    }

    pub(super) fn facts(&self, token: &Fingerprint) -> Option<Entry> {
        self.facts.get(token)
    }

    pub(super) fn refusal(&self, token: &Fingerprint) -> Option<Refusal> {
        self.refusals.get(token)
    }

    /// Caches facts, unless something newer is cached.
    pub(super) fn keep(&self, token: &Fingerprint, active: ActiveToken) {
        let newer = |at: Moment| active.verified_at().is_before(at);
        if self.refusals.peek(token).is_some_and(|refusal| newer(refusal.verified_at))
            || self.facts.peek(token).is_some_and(|entry| newer(entry.active.verified_at()))
        {
            return;
        }
        let part = Part::new(place::<Entry>() + active.bytes(), &self.held);
        self.facts.insert(*token, Entry { active, part });
        self.refusals.remove(token);
    }

    /// Caches a refusal, unless something newer is cached.
    pub(super) fn keep_refusal(
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
        let part = Part::new(place::<Refusal>() + own, &self.held);
        let error = shared.unwrap_or_else(|| error.clone());
        self.refusals.insert(*token, Refusal { error, verified_at, part });
        self.facts.remove(token);
    }

    /// Returns a shared refusal equal to this one, if it can be shared.
    fn shared(&self, error: &VerifyError) -> Option<VerifyError> {
        if !error.is_common() {
            return None;
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let same = shared.iter().find(|one| one.says_the_same(error)).cloned();
        same.or_else(|| {
            let room = shared.len() < SHARED;
            room.then(|| shared.push(error.clone())).map(|()| error.clone())
        })
    }

    /// Returns true if the caller should verify these facts ahead of time. True once for each
    /// entry.
    pub(super) fn begin_refresh(&self, token: &Fingerprint, entry: &Entry) -> bool {
        // The copy usually tells, without the lock of the table.
        if entry.is_refreshing() {
            return false;
        }
        let begin = |_: &Fingerprint, kept: &mut Entry| {
            let first = kept.active.is(&entry.active) && !kept.part.refreshing;
            kept.part.refreshing |= first;
            EntryAction::Retain(first)
        };
        let begun = self.facts.entry(token, Some(Duration::ZERO), begin);
        matches!(begun, EntryResult::Retained(true))
    }

    /// Removes these facts, unless others have replaced them.
    pub(super) fn drop_entry(&self, token: &Fingerprint, entry: &Entry) -> bool {
        self.facts.remove_if(token, |kept| kept.active.is(&entry.active)).is_some()
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
        size(self.facts.len() + self.refusals.len())
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
