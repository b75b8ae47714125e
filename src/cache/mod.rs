//! A cache of verified facts. Decisions are never cached.

mod decide;
pub(crate) mod future;
pub(crate) mod layer;
mod store;
mod table;

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::runtime::Handle;

use self::{
    decide::{Decision, Known, decide, serves_stale},
    store::{Entry, Store},
};
pub use self::{future::CacheFuture, layer::CacheLayer};
use crate::{
    clock::{Moment, Reading},
    credentials::{Fingerprint, Token},
    error::{kind::ErrorKind, refusal::VerifyError},
};
use crate::{
    revocation::Standing,
    verify::{
        Outcome, Verifier, Verifying,
        active::ActiveToken,
        request::{self, Freshness, RecallRequest, VerifyRequest},
        stats::{Counter, Stats},
    },
};

/// The share of `max_age` within which a verification must have started for one ahead of time to
/// join it.
const REFRESH_SHARES: u32 = 5;

/// The verifier of a [`CacheLayer`]. Clones share the cache.
pub struct Cache<V>(Arc<Inner<V>>);

struct Inner<V> {
    verifier: V,
    store: Store,
    settings: CacheLayer,
    evictions: Evictions,
    counters: Counters,
}

/// Explicit evictions. The outcome of a verification that started before an eviction is neither
/// cached nor shared with later requests.
#[derive(Default)]
struct Evictions {
    count: AtomicU64,
    last: RwLock<Option<Moment>>,
}

impl Evictions {
    fn add_one(&self, now: Moment) {
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        *last = Some(last.map_or(now, |before| before.latest(now)));
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    fn last(&self) -> Option<Moment> {
        if self.count() == 0 {
            return None;
        }
        *self.last.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Counters {
    hits: Counter,
    negative_hits: Counter,
    misses: Counter,
    refreshes: Counter,
    stale_served: Counter,
    evicted_by_cutoff: Counter,
}

impl<V> Cache<V> {
    fn new(verifier: V, settings: CacheLayer) -> Self {
        Self(Arc::new(Inner {
            verifier,
            store: Store::new(settings.entries, settings.bytes),
            settings,
            evictions: Evictions::default(),
            counters: Counters::default(),
        }))
    }

    /// Removes a token from the cache. Returns true if it was cached.
    ///
    /// Requests that already wait for a verification of the token get its outcome, but the outcome
    /// is not cached, and no later request joins that verification.
    pub fn evict(&self, token: &Token) -> bool {
        self.0.evictions.add_one(self.0.now());
        self.0.store.evict(&request::fingerprint(token))
    }

    /// Removes all tokens from the cache.
    pub fn clear(&self) {
        self.0.evictions.add_one(self.0.now());
        self.0.store.clear();
    }

    /// Returns the counters and the size of the cache.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.0.counters;
        Stats {
            hits: counters.hits.get(),
            negative_hits: counters.negative_hits.get(),
            misses: counters.misses.get(),
            refreshes: counters.refreshes.get(),
            stale_served: counters.stale_served.get(),
            evicted_by_cutoff: counters.evicted_by_cutoff.get(),
            entries: self.0.store.entries(),
            bytes: self.0.store.bytes(),
            ..Stats::default()
        }
    }

    /// Returns a reference to the inner verifier.
    #[must_use]
    pub fn get_ref(&self) -> &V {
        &self.0.verifier
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("store", &self.0.store).finish_non_exhaustive()
    }
}

impl<V> Verifier for Cache<V>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    type Future = CacheFuture<V>;

    fn recall(&self, request: &RecallRequest<'_>) -> Option<Outcome> {
        let (inner, token, wanted) = (&self.0, request.fingerprint(), request.freshness());
        let Some(entry) = inner.store.facts(&token) else {
            if !request.takes_refusals() {
                return None;
            }
            let now = request.read(&*inner.settings.clock);
            let error = inner.refusal(&token, wanted, now)?;
            inner.counters.negative_hits.add_one();
            return Some(Err(error));
        };
        let now = request.read(&*inner.settings.clock);
        let standing = inner.settings.revocations.check(&entry.active);
        match inner.decide(&entry, wanted, now, standing) {
            // A verification ahead of time needs an owned request.
            Decision::Use { refresh } if !refresh || entry.is_refreshing() => {
                inner.counters.hits.add_one();
                Some(Ok(entry.active))
            }
            _ => None,
        }
    }

    fn verify(&self, request: VerifyRequest) -> Verifying<CacheFuture<V>> {
        let inner = &self.0;
        let token = request.fingerprint();
        let reading = Reading::take(&*inner.settings.clock);
        let now = reading.moment();
        let old = match inner.store.facts(&token) {
            Some(entry) => {
                let standing = inner.standing(&entry, &request);
                if standing != Standing::Stands {
                    inner.counters.evicted_by_cutoff.add_one();
                }
                match inner.decide(&entry, request.freshness(), now, standing) {
                    Decision::Use { refresh } => {
                        inner.counters.hits.add_one();
                        if refresh {
                            Inner::refresh(inner, &entry, &request, token);
                        }
                        return Verifying::done_at(Ok(entry.active), Some(reading));
                    }
                    Decision::Verify => Some(entry),
                    Decision::Drop => {
                        inner.store.drop_entry(&token, &entry);
                        None
                    }
                }
            }
            None => match inner.refusal(&token, request.freshness(), now) {
                Some(error) => {
                    inner.counters.negative_hits.add_one();
                    return Verifying::done_at(Err(error), Some(reading));
                }
                None => None,
            },
        };
        inner.counters.misses.add_one();
        let wanted = request.freshness();
        let question = Question { token, wanted, old, asked: inner.asked(now) };
        match inner.verifier.verify(inner.passed_on(request)).now_or_later() {
            Ok(outcome) => Verifying::done(inner.landed(question, outcome)),
            Err(future) => {
                Verifying::pending(CacheFuture::new(future, Arc::clone(inner), question))
            }
        }
    }
}

/// The state of a request that went to the inner verifier.
struct Question {
    token: Fingerprint,
    wanted: Freshness,
    /// Facts that are too old, for use if the server is unavailable.
    old: Option<Entry>,
    asked: Asked,
}

#[derive(Clone, Copy)]
struct Asked {
    at: Moment,
    evictions: u64,
}

impl<V> Inner<V> {
    fn now(&self) -> Moment {
        Moment::now(&*self.settings.clock)
    }

    fn asked(&self, at: Moment) -> Asked {
        Asked { at, evictions: self.evictions.count() }
    }

    fn standing(&self, entry: &Entry, request: &VerifyRequest) -> Standing {
        let standing = self.settings.revocations.check(&entry.active);
        match (standing, request.not_before()) {
            // A cutoff that is not among the revocations of this cache.
            (Standing::Stands, Some(earliest))
                if !request.takes_from(entry.active.verified_at()) =>
            {
                Standing::Outdated(earliest)
            }
            _ => standing,
        }
    }

    fn decide(
        &self,
        entry: &Entry,
        wanted: Freshness,
        now: Moment,
        standing: Standing,
    ) -> Decision {
        decide(&Known::of(&entry.active), wanted, now, &self.settings.limits, standing)
    }

    /// Returns the cached refusal, if it is recent enough.
    fn refusal(&self, token: &Fingerprint, wanted: Freshness, now: Moment) -> Option<VerifyError> {
        let oldest = match wanted {
            Freshness::Cached => self.settings.negative_max_age,
            Freshness::Within(age) => age.min(self.settings.negative_max_age),
            Freshness::Live => return None,
        };
        let refusal = self.store.refusal(token)?;
        (now.since(refusal.verified_at) < oldest).then_some(refusal.error)
    }

    /// Returns the request for the inner verifier. It carries a maximum age, because the inner
    /// verifier may have a cache too.
    fn passed_on(&self, request: VerifyRequest) -> VerifyRequest {
        let max_age = self.settings.limits.max_age;
        let freshness = match request.freshness() {
            Freshness::Cached => Freshness::Within(max_age),
            Freshness::Within(age) => Freshness::Within(age.min(max_age)),
            Freshness::Live => Freshness::Live,
        };
        let request = request.with_freshness(freshness);
        match self.evictions.last() {
            Some(moment) => request.with_not_before(moment),
            None => request,
        }
    }

    /// Caches an outcome, and returns the outcome for the request.
    fn landed(&self, question: Question, outcome: Outcome) -> Outcome {
        let Question { token, wanted, old, asked } = question;
        self.remember(&token, asked, &outcome);
        match outcome {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                // Facts evicted meanwhile are not served stale.
                let kept = old.filter(|_| self.evictions.count() == asked.evictions);
                match kept.and_then(|entry| self.stale(&entry, wanted)) {
                    Some(active) => {
                        self.counters.stale_served.add_one();
                        Ok(active)
                    }
                    None => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    fn remember(&self, token: &Fingerprint, asked: Asked, outcome: &Outcome) {
        let evicted = || self.evictions.count() != asked.evictions;
        if evicted() {
            return;
        }
        match outcome {
            // Another cache served these facts stale. They must not count as fresh here.
            Ok(active) if active.is_stale() => {}
            Ok(active) => {
                if !self.settings.limits.max_age(active.method()).is_zero() {
                    self.store.keep(token, active.clone());
                }
            }
            Err(error) if is_about_the_token(error.kind()) => {
                // Also removes cached facts, which are wrong now, even if refusals are not cached.
                self.store.keep_refusal(token, error, asked.at);
            }
            Err(_) => {}
        }
        // An eviction may have happened just before the outcome was cached.
        if evicted() {
            self.store.evict(token);
        }
    }

    fn stale(&self, entry: &Entry, wanted: Freshness) -> Option<ActiveToken> {
        let standing = self.settings.revocations.check(&entry.active);
        let limits = &self.settings.limits;
        serves_stale(&Known::of(&entry.active), wanted, self.now(), limits, standing)
            .then(|| entry.active.as_stale())
    }
}

impl<V> Inner<V>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    /// Verifies ahead of time, in the background, at most once for each entry. A successful
    /// verification makes a new entry. After a failed one, the next request that finds this entry
    /// too old verifies the token.
    fn refresh(this: &Arc<Self>, entry: &Entry, request: &VerifyRequest, token: Fingerprint) {
        // Read first: an eviction from here on keeps this outcome out of the cache.
        let asked = this.asked(this.now());
        if !this.store.begin_refresh(&token, entry) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        this.counters.refreshes.add_one();
        let recent = this.settings.limits.max_age / REFRESH_SHARES;
        let mut request = request.clone().with_freshness(Freshness::Within(recent));
        if let Some(moment) = this.evictions.last() {
            request = request.with_not_before(moment);
        }
        let home = Arc::downgrade(this);
        runtime.spawn(async move {
            let Some(verifying) = home.upgrade().map(|inner| inner.verifier.verify(request)) else {
                return;
            };
            let outcome = verifying.await;
            if let Some(inner) = Weak::upgrade(&home) {
                inner.remember(&token, asked, &outcome);
            }
        });
    }
}

/// Returns true if a refusal depends on the token alone, so that it will be the same a moment
/// later.
///
/// Excluded are refusals that depend on keys not fetched yet, on issuers not found yet, on the
/// time, or on any party but the client.
const fn is_about_the_token(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::BadSignature
            | ErrorKind::Inactive
            | ErrorKind::InvalidClaim(_)
            | ErrorKind::MalformedToken
            | ErrorKind::MissingClaim(_)
            | ErrorKind::NotIntrospectable
            | ErrorKind::UnprovenPossession
            | ErrorKind::UnsupportedAlgorithm
            | ErrorKind::UnsupportedExtension
            | ErrorKind::UnsupportedToken
            | ErrorKind::WrongIssuer
            | ErrorKind::WrongTokenKind(_)
    )
}
