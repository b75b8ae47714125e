//! Where facts and refusals are kept, bounded in number and in bytes.

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
    clock::Moment, credentials::Fingerprint, error::refusal::VerifyError,
    verify::active::ActiveToken,
};

/// Hardly any entry takes less.
const LEAST: u64 = 512;

/// Of the number of facts, this share of refusals is remembered, in a place of their own: whatever is
/// made up of random tokens pushes no good one out. They take at most this share of the bytes.
const REFUSALS: usize = 10;

/// How many refusals are shared by those that say no more. There are no more ways of refusing.
const SHARED: usize = 64;

/// Facts and refusals, each found by the digest of its token.
pub(super) struct Store {
    facts: Table<Entry>,
    refusals: Table<Refusal>,
    /// A refusal says little, and many say the same.
    shared: Mutex<Vec<VerifyError>>,
    held: Arc<AtomicU64>,
}

/// Remembered facts.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) active: ActiveToken,
    part: Part,
}

impl Entry {
    /// Whether someone has begun to verify these facts ahead of time.
    pub(super) const fn is_refreshing(&self) -> bool {
        self.part.refreshing
    }
}

/// A remembered refusal.
#[derive(Clone)]
pub(super) struct Refusal {
    pub(super) error: VerifyError,
    pub(super) verified_at: Moment,
    part: Part,
}

/// The part of an entry in what is held: as long as it is in the table, not what was copied out of it.
struct Part {
    held: Option<Arc<AtomicU64>>,
    bytes: u32,
    /// Someone has begun to verify it ahead of time.
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
    /// At most `entries` facts, and refusals, that take at most `bytes` together.
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

    /// Remembers facts, unless something newer is known.
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

    /// Remembers a refusal, unless something newer is known.
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

    /// A refusal that says the same, if it is one that others say too.
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

    /// Whether to verify these facts ahead of time. True once for each entry.
    pub(super) fn begin_refresh(&self, token: &Fingerprint, entry: &Entry) -> bool {
        // A look at the copy saves most the lock.
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

    /// Forgets these facts, unless others have taken their place.
    pub(super) fn drop_entry(&self, token: &Fingerprint, entry: &Entry) -> bool {
        self.facts.remove_if(token, |kept| kept.active.is(&entry.active)).is_some()
    }

    /// Forgets all about a token.
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
