//! The state of a cache: its entries, evictions and counters.

use std::sync::{
    Arc, PoisonError, RwLock, Weak,
    atomic::{AtomicU64, Ordering},
};

use tokio::runtime::Handle;

use super::{
    decide::{Decision, Facts, decide, serves_stale},
    layer::CacheLayer,
    store::{Entry, Store},
};
use crate::{
    clock::Moment,
    credentials::token::{Fingerprint, Token},
    error::{kind::ErrorKind, refusal::VerifyError},
    revocation::cutoff::Standing,
    verify::{
        active::ActiveToken,
        keeper::{Keep, Keeper},
        request::{self, Freshness, VerifyRequest},
        stats::Counter,
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// A background refresh may join a verification that is already under way only if that one started
/// less than the maximum age of the request divided by this ago.
const REFRESH_JOIN_DIVISOR: u32 = 5;

pub(super) struct CacheState<V> {
    pub(super) verifier: V,
    pub(super) store: Store,
    pub(super) settings: CacheLayer,
    pub(super) evictions: Evictions,
    pub(super) counters: Counters,
}

/// Counts explicit evictions, of any token. The outcome of a verification that started before an
/// eviction is neither cached nor shared with later requests, whatever its token.
#[derive(Default)]
pub(super) struct Evictions {
    count: AtomicU64,
    last: RwLock<Option<Moment>>,
}

impl Evictions {
    pub(super) fn add_one(&self, now: Moment) {
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
pub(super) struct Counters {
    pub(super) hits: Counter,
    pub(super) negative_hits: Counter,
    pub(super) misses: Counter,
    pub(super) refreshes: Counter,
    pub(super) stale_served: Counter,
    pub(super) evicted_by_cutoff: Counter,
}

/// The state of a request that went to the inner verifier.
pub(super) struct Miss {
    pub(super) token: Fingerprint,
    pub(super) freshness: Freshness,
    /// Facts that are too old, for use if the server is unavailable.
    pub(super) old: Option<Entry>,
    pub(super) started_at: StartedAt,
}

/// The start of a verification, and the number of evictions until then.
#[derive(Clone, Copy)]
pub(super) struct StartedAt {
    moment: Moment,
    evictions: u64,
}

impl<V> CacheState<V> {
    pub(super) fn now(&self) -> Moment {
        Moment::now(&*self.settings.clock)
    }

    pub(super) fn started_at(&self, moment: Moment) -> StartedAt {
        StartedAt { moment, evictions: self.evictions.count() }
    }

    pub(super) fn standing(&self, entry: &Entry, request: &VerifyRequest) -> Standing {
        let standing = self.settings.revocations.check(&entry.active);
        match (standing, request.not_before()) {
            // A layer outside knows a cutoff that this cache does not, and has set `not_before`.
            (Standing::Stands, Some(earliest))
                if !request.accepts_start(entry.active.verified_at()) =>
            {
                Standing::Outdated(earliest)
            }
            _ => standing,
        }
    }

    pub(super) fn decide(
        &self,
        entry: &Entry,
        freshness: Freshness,
        now: Moment,
        standing: Standing,
    ) -> Decision {
        decide(&Facts::of(&entry.active), freshness, now, &self.settings.limits, standing)
    }

    /// Returns the cached refusal, if it is recent enough.
    pub(super) fn refusal(
        &self,
        token: &Fingerprint,
        freshness: Freshness,
        now: Moment,
    ) -> Option<VerifyError> {
        let refusal = self.store.refusal(token)?;
        let max_age = freshness.max_age(self.settings.negative_max_age);
        (now.since(refusal.verified_at) < max_age).then_some(refusal.error)
    }

    /// Returns the request for the inner verifier. It carries a maximum age, because the inner
    /// verifier may have a cache too.
    fn inner_request(&self, request: VerifyRequest) -> VerifyRequest {
        let freshness = request.freshness().capped(self.settings.limits.remote_max_age);
        let request = request.with_freshness(freshness);
        match self.evictions.last() {
            Some(moment) => request.with_not_before(moment),
            None => request,
        }
    }

    /// Caches an outcome, and returns the outcome for the request.
    pub(super) fn finish(&self, miss: Miss, outcome: Outcome) -> Outcome {
        let Miss { token, freshness, old, started_at } = miss;
        self.store_outcome(&token, started_at, &outcome);
        match outcome {
            Err(error) if error.allows_stale() => {
                // Facts evicted meanwhile are not served stale.
                let kept = old.filter(|_| self.evictions.count() == started_at.evictions);
                match kept.and_then(|entry| self.stale_facts(&entry, freshness)) {
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

    fn store_outcome(&self, token: &Fingerprint, started_at: StartedAt, outcome: &Outcome) {
        let evicted = || self.evictions.count() != started_at.evictions;
        if evicted() {
            return;
        }
        match outcome {
            // Another cache served these facts stale. They must not count as fresh here.
            Ok(active) if active.is_stale() => {}
            Ok(active) => {
                if !self.settings.limits.max_age_of(active.method()).is_zero() {
                    self.store.insert(token, active.clone());
                }
            }
            Err(error) if depends_on_token_alone(error.kind()) => {
                // An answer also removes the cached facts, which are wrong now. So the refusal is
                // inserted even if `negative_max_age` is zero.
                self.store.insert_refusal(token, error, started_at.moment);
                if error.fault().is_none() {
                    self.store.remove_facts(token, started_at.moment);
                }
            }
            Err(_) => {}
        }
        // An eviction may have happened just before the outcome was cached.
        if evicted() {
            self.store.evict(token);
        }
    }

    fn stale_facts(&self, entry: &Entry, freshness: Freshness) -> Option<ActiveToken> {
        let standing = self.settings.revocations.check(&entry.active);
        let limits = &self.settings.limits;
        serves_stale(&Facts::of(&entry.active), freshness, self.now(), limits, standing)
            .then(|| entry.active.as_stale())
    }
}

impl<V> CacheState<V>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    /// Returns the verification of a token that is not cached, or whose facts are too old.
    pub(super) fn ask(
        this: &Arc<Self>,
        request: VerifyRequest,
        started_at: StartedAt,
    ) -> Verifying<V::Future> {
        let cache: Weak<Self> = Arc::downgrade(this);
        let StartedAt { moment: started, evictions } = started_at;
        let request = this.inner_request(request).with_keeper(Keeper { cache, started, evictions });
        this.verifier.verify(request)
    }

    /// Refreshes an entry in the background, at most once. A successful refresh makes a new entry.
    /// After a failed one, the next request that finds this entry too old verifies the token.
    pub(super) fn refresh(
        this: &Arc<Self>,
        entry: &Entry,
        request: &VerifyRequest,
        token: Fingerprint,
    ) {
        // Read first: an eviction from here on keeps this outcome out of the cache.
        let started_at = this.started_at(this.now());
        if !this.store.begin_refresh(&token, entry) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        this.counters.refreshes.add_one();
        let max_age = request.freshness().max_age(this.settings.limits.remote_max_age);
        let recent = max_age / REFRESH_JOIN_DIVISOR;
        let request = request.clone().with_freshness(Freshness::Within(recent));
        let cache = Arc::downgrade(this);
        runtime.spawn(async move {
            let ask = |cache| Self::ask(&cache, request, started_at);
            let Some(verifying) = cache.upgrade().map(ask) else { return };
            let outcome = verifying.await;
            if let Some(cache) = cache.upgrade() {
                cache.store_outcome(&token, started_at, &outcome);
            }
        });
    }
}

impl<V> Keep for CacheState<V>
where
    V: Send + Sync,
{
    fn keep(&self, token: &Token, moment: Moment, evictions: u64, outcome: &Outcome) {
        let started_at = StartedAt { moment, evictions };
        self.store_outcome(&request::fingerprint(token), started_at, outcome);
    }
}

/// Returns true if a refusal depends on the token alone, so that it will be the same a moment
/// later.
///
/// Excluded are refusals that depend on keys not fetched yet, on issuers not found yet, on the
/// time, or on any party but the client.
const fn depends_on_token_alone(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::BadSignature
            | ErrorKind::FailsOnToken
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
