//! The state of a cache: its entries, evictions and counters.

use std::sync::{
    Arc, PoisonError, RwLock, Weak,
    atomic::{AtomicU64, Ordering},
};

use tokio::runtime::Handle;

use super::{
    decide::{Decision, Known, decide, serves_stale},
    layer::CacheLayer,
    store::{Entry, Store},
};
use crate::{
    clock::Moment,
    credentials::token::Fingerprint,
    error::{kind::ErrorKind, refusal::VerifyError},
    revocation::cutoff::Standing,
    verify::{
        active::ActiveToken,
        request::{Freshness, VerifyRequest},
        stats::Counter,
        verifier::{Outcome, Verifier},
    },
};

/// The share of `max_age` within which a verification must have started for one ahead of time to
/// join it.
const REFRESH_SHARES: u32 = 5;

pub(super) struct CacheState<V> {
    pub(super) verifier: V,
    pub(super) store: Store,
    pub(super) settings: CacheLayer,
    pub(super) evictions: Evictions,
    pub(super) counters: Counters,
}

/// Explicit evictions. The outcome of a verification that started before an eviction is neither
/// cached nor shared with later requests.
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
pub(super) struct Question {
    pub(super) token: Fingerprint,
    pub(super) wanted: Freshness,
    /// Facts that are too old, for use if the server is unavailable.
    pub(super) old: Option<Entry>,
    pub(super) asked: Asked,
}

#[derive(Clone, Copy)]
pub(super) struct Asked {
    at: Moment,
    evictions: u64,
}

impl<V> CacheState<V> {
    pub(super) fn now(&self) -> Moment {
        Moment::now(&*self.settings.clock)
    }

    pub(super) fn asked(&self, at: Moment) -> Asked {
        Asked { at, evictions: self.evictions.count() }
    }

    pub(super) fn standing(&self, entry: &Entry, request: &VerifyRequest) -> Standing {
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

    pub(super) fn decide(
        &self,
        entry: &Entry,
        wanted: Freshness,
        now: Moment,
        standing: Standing,
    ) -> Decision {
        decide(&Known::of(&entry.active), wanted, now, &self.settings.limits, standing)
    }

    /// Returns the cached refusal, if it is recent enough.
    pub(super) fn refusal(
        &self,
        token: &Fingerprint,
        wanted: Freshness,
        now: Moment,
    ) -> Option<VerifyError> {
        let refusal = self.store.refusal(token)?;
        let max_age = wanted.max_age(self.settings.negative_max_age);
        (now.since(refusal.verified_at) < max_age).then_some(refusal.error)
    }

    /// Returns the request for the inner verifier. It carries a maximum age, because the inner
    /// verifier may have a cache too.
    pub(super) fn passed_on(&self, request: VerifyRequest) -> VerifyRequest {
        let freshness = request.freshness().capped(self.settings.limits.max_age);
        let request = request.with_freshness(freshness);
        match self.evictions.last() {
            Some(moment) => request.with_not_before(moment),
            None => request,
        }
    }

    /// Caches an outcome, and returns the outcome for the request.
    pub(super) fn landed(&self, question: Question, outcome: Outcome) -> Outcome {
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

impl<V> CacheState<V>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    /// Verifies ahead of time, in the background, at most once for each entry. A successful
    /// verification makes a new entry. After a failed one, the next request that finds this entry
    /// too old verifies the token.
    pub(super) fn refresh(
        this: &Arc<Self>,
        entry: &Entry,
        request: &VerifyRequest,
        token: Fingerprint,
    ) {
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
