//! Remembering what was verified: facts, never decisions.

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

/// A verification ahead of time may share one that is under way, if it started within this share of
/// `max_age`.
const REFRESH_SHARES: u32 = 5;

/// The verifier of a [`CacheLayer`]. Clones share what is remembered.
pub struct Cache<V>(Arc<Inner<V>>);

struct Inner<V> {
    verifier: V,
    store: Store,
    settings: CacheLayer,
    evictions: Evictions,
    counters: Counters,
}

/// What was forgotten on demand: what was asked before is not remembered, and not joined, after.
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

    /// Forgets a token; says whether it was remembered.
    ///
    /// Whoever already waits for a verification gets what comes of it, but it is not remembered, and
    /// nobody joins it any more.
    pub fn evict(&self, token: &Token) -> bool {
        self.0.evictions.add_one(self.0.now());
        self.0.store.evict(&request::fingerprint(token))
    }

    /// Forgets all tokens.
    pub fn clear(&self) {
        self.0.evictions.add_one(self.0.now());
        self.0.store.clear();
    }

    /// What came of it so far.
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

    /// The verifier inside.
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
            // To verify ahead of time takes a request that can be kept.
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

/// What is asked of the verifier inside, and what to do with the answer.
struct Question {
    token: Fingerprint,
    wanted: Freshness,
    /// Facts that are too old, for when the server is not available.
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
            // A cutoff that this cache was not told of.
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

    /// The refusal that is remembered, if it is recent enough.
    fn refusal(&self, token: &Fingerprint, wanted: Freshness, now: Moment) -> Option<VerifyError> {
        let oldest = match wanted {
            Freshness::Cached => self.settings.negative_max_age,
            Freshness::Within(age) => age.min(self.settings.negative_max_age),
            Freshness::Live => return None,
        };
        let refusal = self.store.refusal(token)?;
        (now.since(refusal.verified_at) < oldest).then_some(refusal.error)
    }

    /// The request as the verifier inside gets it. It too may remember, so it is told how old an
    /// answer may be.
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

    /// Takes an outcome over; says what the request gets.
    fn landed(&self, question: Question, outcome: Outcome) -> Outcome {
        let Question { token, wanted, old, asked } = question;
        self.remember(&token, asked, &outcome);
        match outcome {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                // What was forgotten meanwhile is not remembered for want of something better.
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
            // What another cache calls stale is not to be taken for fresh here.
            Ok(active) if active.is_stale() => {}
            Ok(active) => {
                if !self.settings.limits.max_age(active.method()).is_zero() {
                    self.store.keep(token, active.clone());
                }
            }
            Err(error) if is_about_the_token(error.kind()) => {
                // Whatever was remembered is wrong now, even if the refusal is not remembered.
                self.store.keep_refusal(token, error, asked.at);
            }
            Err(_) => {}
        }
        // Someone may have evicted it just before it was remembered.
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
    /// Verifies ahead of time, in the background. At most once for each entry: what comes of it is
    /// another entry, or nothing, and then the next request that finds this one too old asks.
    fn refresh(this: &Arc<Self>, entry: &Entry, request: &VerifyRequest, token: Fingerprint) {
        // Before anything else: what is forgotten from here on is not remembered by this.
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

/// Whether a refusal depends on the token alone, so that it will be the same a moment later.
///
/// Not one that is about keys that may yet come, issuers that may yet be found, the time, or anyone
/// but the client.
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
