//! Stores facts and refusals, bounded in number and in bytes.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    part::Part,
    table::{ByteSize, KeyedBuildHasher, Table, entry_size, table, to_u64},
};
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
    facts: Part<Entry>,
    refusals: Part<Refusal>,
    /// Refusals shared by entries, because many are equal.
    shared: Mutex<Vec<VerifyError>>,
    used: Arc<Used>,
}

/// The tables of all caches that share one bound. Clones are the same tables.
#[derive(Clone)]
pub(crate) struct SharedTables {
    facts: Arc<Table<Entry>>,
    refusals: Arc<Table<Refusal>>,
    /// The sum over all caches, those that are gone included.
    used: Arc<Used>,
}

/// The entries of a cache, and the bytes that they take.
#[derive(Default)]
struct Used {
    entries: AtomicU64,
    bytes: AtomicU64,
    /// The sum over all caches with the same tables, if these are shared.
    all: Option<Arc<Self>>,
}

impl Used {
    fn add(&self, bytes: u32) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.into(), Ordering::Relaxed);
        if let Some(all) = &self.all {
            all.add(bytes);
        }
    }

    fn remove(&self, bytes: u32) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes.into(), Ordering::Relaxed);
        if let Some(all) = &self.all {
            all.remove(bytes);
        }
    }
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

/// The bytes that an entry adds to `Store::used`. Only the entry in the table counts: a clone does
/// not.
struct Accounting {
    used: Option<Arc<Used>>,
    bytes: u32,
    /// True if a refresh has begun. Only facts are refreshed. The flag is here because the padding
    /// holds it: in `Entry` it would take eight bytes.
    refreshing: bool,
}

impl Accounting {
    fn new(bytes: usize, used: &Arc<Used>) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        used.add(bytes);
        Self { used: Some(Arc::clone(used)), bytes, refreshing: false }
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
        Self { used: None, ..*self }
    }
}

impl Drop for Accounting {
    fn drop(&mut self) {
        if let Some(used) = &self.used {
            used.remove(self.bytes);
        }
    }
}

impl Store {
    /// Creates a store for at most `entries` facts, and a share of refusals, that take at most
    /// `bytes` together.
    pub(super) fn new(entries: usize, bytes: u64) -> Self {
        let (facts, refusals) = tables(entries, bytes);
        Self {
            facts: Part::whole(facts),
            refusals: Part::whole(refusals),
            shared: Mutex::default(),
            used: Arc::default(),
        }
    }

    /// Creates a store that has a part of these tables.
    pub(super) fn of(tables: &SharedTables) -> Self {
        let used = Used { all: Some(Arc::clone(&tables.used)), ..Used::default() };
        Self {
            facts: Part::of(&tables.facts),
            refusals: Part::of(&tables.refusals),
            shared: Mutex::default(),
            used: Arc::new(used),
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
        // The same facts arrive twice if the verification is shared.
        let same = |entry: &Entry| entry.active.ptr_eq(&active);
        if self.facts.peek(token).is_some_and(|entry| same(&entry)) {
            return;
        }
        if self.refusals.peek(token).is_some_and(|refusal| newer(refusal.verified_at))
            || self.facts.peek(token).is_some_and(|entry| newer(entry.active.verified_at()))
        {
            return;
        }
        let accounting = Accounting::new(entry_size::<Entry>() + active.bytes(), &self.used);
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
        let accounting = Accounting::new(entry_size::<Refusal>() + own, &self.used);
        let error = shared.unwrap_or_else(|| error.clone());
        self.refusals.insert(*token, Refusal { error, verified_at, accounting });
    }

    /// Removes the facts of a token, unless they were established after `moment`.
    pub(super) fn remove_facts(&self, token: &Fingerprint, moment: Moment) {
        self.facts.remove_if(token, |entry| !moment.is_before(entry.active.verified_at()));
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
        let begun = self.facts.update(token, |kept| {
            let first = kept.active.ptr_eq(&entry.active) && !kept.accounting.refreshing;
            kept.accounting.refreshing |= first;
            first
        });
        begun == Some(true)
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
        self.used.entries.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.used.bytes.load(Ordering::Relaxed)
    }
}

/// Creates the tables for at most `entries` facts, and a share of refusals, that take at most `bytes`
/// together.
fn tables(entries: usize, bytes: u64) -> (Table<Entry>, Table<Refusal>) {
    let entries = entries.max(1);
    let refusals = (entries / FACTS_PER_REFUSAL).max(16);
    let each = to_u64(entry_size::<Refusal>());
    let for_refusals = to_u64(refusals).saturating_mul(each).min(bytes / to_u64(FACTS_PER_REFUSAL));
    let hasher = KeyedBuildHasher::new();
    (
        table(entries, bytes - for_refusals, MIN_ENTRY_BYTES, hasher),
        table(refusals, for_refusals, each, hasher),
    )
}

impl SharedTables {
    /// Creates tables with the bounds of one cache.
    #[cfg(feature = "jwt")]
    pub(super) fn new(entries: usize, bytes: u64) -> Self {
        let (facts, refusals) = tables(entries, bytes);
        Self { facts: Arc::new(facts), refusals: Arc::new(refusals), used: Arc::default() }
    }

    /// Returns the number of entries and of their bytes, those of caches that are gone included.
    pub(super) fn used(&self) -> (u64, u64) {
        let Used { entries, bytes, .. } = &*self.used;
        (entries.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for SharedTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTables").field("used", &self.used()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("entries", &self.entries()).finish_non_exhaustive()
    }
}

#[cfg(feature = "jwt")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        claims::claims_set::Claims, clock::tests::FixedClock, error::kind::ErrorKind,
        verify::active::Method,
    };

    fn token(at: u32) -> Fingerprint {
        let mut digest = [7; 32];
        digest[28..].copy_from_slice(&at.to_le_bytes());
        Fingerprint::from_digest(digest)
    }

    fn facts(subject: &str) -> ActiveToken {
        let claims = format!(r#"{{"sub":"{subject}"}}"#);
        let claims = Claims::from_json(claims.as_bytes()).unwrap();
        ActiveToken::new("https://as", claims, Method::Introspection, Moment::now(&FixedClock(0)))
    }

    fn subject(store: &Store, at: u32) -> Option<String> {
        Some(store.facts(&token(at))?.active.claims().subject()?.to_owned())
    }

    #[test]
    fn caches_that_share_tables_find_their_own_entries_only() {
        let tables = SharedTables::new(100, 1 << 20);
        let [one, other, third] = [0; 3].map(|_| Store::of(&tables));
        for at in 0..8 {
            one.insert(&token(at), facts("one"));
            other.insert(&token(at), facts("other"));
        }
        let gone = VerifyError::new(ErrorKind::Inactive);
        other.insert_refusal(&token(100), &gone, Moment::now(&FixedClock(0)));
        for at in 0..8 {
            assert_eq!(subject(&one, at).as_deref(), Some("one"), "{at}");
            assert_eq!(subject(&other, at).as_deref(), Some("other"), "{at}");
            assert_eq!(subject(&third, at), None, "{at}");
        }
        assert!(one.refusal(&token(100)).is_none() && other.refusal(&token(100)).is_some());
        assert_eq!((one.entries(), other.entries(), third.entries()), (8, 9, 0));
        assert_eq!(tables.used(), (17, one.bytes() + other.bytes()));

        assert!(one.evict(&token(0)));
        assert_eq!((subject(&one, 0), subject(&other, 0).as_deref()), (None, Some("other")));
        other.clear();
        assert_eq!((subject(&other, 1), subject(&one, 1).as_deref()), (None, Some("one")));
        let entry = one.facts(&token(2)).unwrap();
        assert!(one.begin_refresh(&token(2), &entry) && !one.begin_refresh(&token(2), &entry));
    }

    #[test]
    fn caches_that_share_tables_share_their_bound() {
        let tables = SharedTables::new(100, 1 << 20);
        let stores: Vec<_> = (0..50).map(|_| Store::of(&tables)).collect();
        for store in &stores {
            for at in 0..20 {
                store.insert(&token(at), facts("a"));
            }
        }
        let (entries, bytes) = tables.used();
        assert!((50..=110).contains(&entries), "{entries}");
        assert!(bytes <= 1 << 20, "{bytes}");
        assert_eq!(stores.iter().map(Store::entries).sum::<u64>(), entries);
        drop(stores);
        assert_eq!(tables.used().0, entries, "they stay until there is need of the room");
    }
}
