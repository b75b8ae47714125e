//! The verifier that caches the facts of another one.

use std::{fmt, ops::ControlFlow, sync::Arc};

use tower_layer::Layer;

use super::{
    decide::Decision,
    future::CacheFuture,
    layer::CacheLayer,
    state::{CacheState, Counters, Evictions, Miss},
    store::{Entry, Store},
};
use crate::{
    clock::Moment,
    credentials::token::{Fingerprint, Token},
    revocation::cutoff::Standing,
    verify::{
        request::{self, CacheLookup, VerifyRequest},
        stats::Stats,
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// The verifier of a [`CacheLayer`]. Clones share the cache.
pub struct Cache<V>(Arc<CacheState<V>>);

impl<V> Cache<V> {
    pub(super) fn new(verifier: V, settings: CacheLayer) -> Self {
        Self(Arc::new(CacheState {
            verifier,
            store: match &settings.shared {
                Some(tables) => Store::of(tables),
                None => Store::new(settings.max_entries, settings.max_bytes),
            },
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

    fn cached(&self, request: &CacheLookup<'_>) -> Option<Outcome> {
        let (state, token, freshness) = (&self.0, request.fingerprint(), request.freshness());
        let Some(entry) = state.store.facts(&token) else {
            if !request.accepts_refusals() {
                return None;
            }
            let error = state.refusal(&token, freshness, state.now())?;
            state.counters.negative_hits.add_one();
            return Some(Err(error));
        };
        let now = state.now();
        let standing = state.settings.revocations.check(&entry.active);
        match state.decide(&entry, freshness, now, standing) {
            Decision::Use { refresh } if !refresh || entry.is_refreshing() => {
                state.counters.hits.add_one();
                Some(Ok(entry.active))
            }
            // Starting a refresh takes an owned request, so `verify` does it.
            _ => None,
        }
    }

    fn verify(&self, request: VerifyRequest) -> Verifying<CacheFuture<V>> {
        let (token, now) = (request.fingerprint(), self.0.now());
        let found = match self.0.store.facts(&token) {
            Some(entry) => self.use_facts(entry, &request, token, now),
            None => self.use_refusal(&request, &token, now),
        };
        match found {
            ControlFlow::Break(outcome) => Verifying::done(outcome),
            ControlFlow::Continue(old) => self.verify_inner(request, token, now, old),
        }
    }
}

// The steps of `Cache::verify`. A step that finds no outcome returns the facts that may be used as
// stale ones, if there are any.
impl<V> Cache<V>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    /// Returns the cached facts if they may be used, and refreshes them if that is due.
    fn use_facts(
        &self,
        entry: Entry,
        request: &VerifyRequest,
        token: Fingerprint,
        now: Moment,
    ) -> ControlFlow<Outcome, Option<Entry>> {
        let state = &self.0;
        let standing = state.standing(&entry, request);
        if standing != Standing::Stands {
            state.counters.evicted_by_cutoff.add_one();
        }
        let freshness = request.freshness_for(&entry.active);
        match state.decide(&entry, freshness, now, standing) {
            Decision::Use { refresh } => {
                state.counters.hits.add_one();
                if refresh {
                    CacheState::refresh(state, &entry, request, token);
                }
                ControlFlow::Break(Ok(entry.active))
            }
            // A refusal beside facts is a failure of the server on this token.
            Decision::Verify => match self.use_refusal(request, &token, now) {
                ControlFlow::Continue(_) => ControlFlow::Continue(Some(entry)),
                refused => refused,
            },
            Decision::Drop => {
                state.store.remove_entry(&token, &entry);
                ControlFlow::Continue(None)
            }
        }
    }

    /// Returns the cached refusal, if it is recent enough.
    fn use_refusal(
        &self,
        request: &VerifyRequest,
        token: &Fingerprint,
        now: Moment,
    ) -> ControlFlow<Outcome, Option<Entry>> {
        let state = &self.0;
        match state.refusal(token, request.freshness(), now) {
            Some(error) => {
                state.counters.negative_hits.add_one();
                ControlFlow::Break(Err(error))
            }
            None => ControlFlow::Continue(None),
        }
    }

    /// Verifies the token with the inner verifier, and caches the outcome.
    fn verify_inner(
        &self,
        request: VerifyRequest,
        token: Fingerprint,
        now: Moment,
        old: Option<Entry>,
    ) -> Verifying<CacheFuture<V>> {
        let state = &self.0;
        state.counters.misses.add_one();
        let freshness = request.freshness();
        let miss = Miss { token, freshness, old, started_at: state.started_at(now) };
        match CacheState::ask(state, request, miss.started_at).now_or_later() {
            Ok(outcome) => Verifying::done(state.finish(miss, outcome)),
            Err(future) => Verifying::pending(CacheFuture::new(future, Arc::clone(state), miss)),
        }
    }
}

impl<V> Layer<V> for CacheLayer {
    type Service = Cache<V>;

    fn layer(&self, inner: V) -> Cache<V> {
        Cache::new(inner, self.clone())
    }
}
