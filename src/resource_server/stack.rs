//! The layers around the verifier of an issuer: cache, coalescing, miss budget, bulkhead and
//! circuit breaker.

#[cfg(all(feature = "introspection", feature = "_crypto"))]
use std::sync::OnceLock;
use std::{sync::Arc, time::Duration};

use tower_layer::Layer;

use super::own_facts::OwnFacts;
#[cfg(feature = "introspection")]
use crate::introspection::verifier::IntrospectionVerifier;
#[cfg(feature = "_crypto")]
use crate::upstream::coalesce::{Coalesce, CoalesceLayer};
#[cfg(all(feature = "introspection", feature = "_crypto"))]
use crate::upstream::guard::{
    origin::{DEFAULT_PERMITS, Origins},
    verifier::Guard,
};
#[cfg(all(feature = "introspection", not(feature = "_crypto")))]
use crate::upstream::{
    breaker::{CircuitBreaker, CircuitBreakerLayer},
    bulkhead::{Bulkhead, BulkheadLayer},
};
#[cfg(feature = "cache")]
use crate::{
    cache::{layer::CacheLayer, verifier::Cache},
    credentials::token::Token,
};
use crate::{
    clock::Clock,
    revocation::revocations::Revocations,
    route::by_issuer::Route,
    telemetry::server_state::ServerState,
    upstream::budget::{MissBudget, MissBudgetLayer},
    verify::{boxed::BoxVerifier, stats::Stats, verifier::Verifier},
};

/// The settings of all stacks of one resource server.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    #[cfg(feature = "cache")]
    pub(super) cache: CacheLayer,
    #[cfg(feature = "cache")]
    pub(super) no_cache: bool,
    pub(super) budget: Option<MissBudgetLayer>,
    max_introspections: Option<usize>,
    /// The servers that the issuers share, created with the first stack.
    #[cfg(all(feature = "introspection", feature = "_crypto"))]
    origins: Arc<OnceLock<Origins>>,
    pub(super) revocations: Revocations,
}

impl Settings {
    /// Makes all caches share the capacity of one, for issuers whose number is not bounded.
    #[cfg(feature = "jwt")]
    pub(super) fn share_cache_capacity(&mut self) {
        #[cfg(feature = "cache")]
        {
            self.cache = self.cache.clone().sharing_capacity();
        }
    }

    /// Returns the entries and bytes in all caches, if they share one capacity.
    #[cfg(feature = "jwt")]
    pub(super) fn shared_cache_use(&self) -> Option<(u64, u64)> {
        #[cfg(feature = "cache")]
        return self.cache.shared_use();
        #[cfg(not(feature = "cache"))]
        None
    }

    /// Makes `route` cache the issuers of as many tokens as each cache holds, unless the cache is
    /// off.
    pub(super) fn cache_issuers(&self, route: Route) -> Route {
        #[cfg(feature = "cache")]
        if !self.no_cache {
            return route.caching_issuers(self.cache.max_entries());
        }
        route
    }

    /// Returns the maximum age of facts that an authorization server established, and the additional
    /// time while it is unavailable.
    #[cfg(feature = "_crypto")]
    pub(super) const fn ages(&self) -> (Duration, Duration) {
        #[cfg(feature = "cache")]
        if !self.no_cache {
            return self.cache.ages();
        }
        (Duration::ZERO, Duration::ZERO)
    }

    /// Sets the number of introspections that may be under way at one server.
    pub(super) const fn limit_introspections(&mut self, limit: usize) {
        self.max_introspections = Some(limit);
    }

    #[cfg(all(feature = "introspection", feature = "_crypto"))]
    fn origins(&self) -> &Origins {
        self.origins.get_or_init(|| {
            #[cfg(feature = "cache")]
            let known_tokens = self.cache.max_entries();
            #[cfg(not(feature = "cache"))]
            let known_tokens = 10_000;
            Origins::new(self.max_introspections.unwrap_or(DEFAULT_PERMITS), known_tokens)
        })
    }

    /// Wraps a verifier in the budget of each peer, if there is one.
    fn within_budget<V>(&self, verifier: V, stats: &mut Vec<Arc<StatsFn>>) -> BoxVerifier
    where
        V: Verifier + Clone + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        let Some(budget) = &self.budget else { return BoxVerifier::new(verifier) };
        let limited = budget.layer(verifier);
        stats.push(stats_fn(&limited, MissBudget::stats));
        BoxVerifier::new(limited)
    }
}

/// A verifier with the layers around it. Issuers never share a stack.
#[derive(Clone)]
pub(super) struct Stack {
    verifier: BoxVerifier,
    /// The counters of each layer.
    stats: Vec<Arc<StatsFn>>,
    /// The state of the server that is asked, if it is watched.
    server_state: Option<Arc<ServerStateFn>>,
    #[cfg(feature = "cache")]
    cache: Option<Arc<EvictFn>>,
}

type ServerStateFn = dyn Fn() -> ServerState + Send + Sync;

type StatsFn = dyn Fn() -> Stats + Send + Sync;

#[cfg(feature = "cache")]
type EvictFn = dyn Fn(&Token) -> bool + Send + Sync;

fn stats_fn<L>(layer: &L, stats: fn(&L) -> Stats) -> Arc<StatsFn>
where
    L: Clone + Send + Sync + 'static,
{
    let layer = layer.clone();
    Arc::new(move || stats(&layer))
}

impl Stack {
    /// Wraps a verifier that introspects tokens.
    #[cfg(all(feature = "introspection", feature = "_crypto"))]
    pub(super) fn for_introspection(
        verifier: IntrospectionVerifier,
        settings: &Settings,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let target = verifier.target();
        let guard = Guard::new(verifier, target, settings.origins());
        let server_state = {
            let guard = guard.clone();
            Arc::new(move || guard.server_state())
        };
        let mut stats = vec![stats_fn(&guard, Guard::stats)];
        let limited = settings.within_budget(guard, &mut stats);
        let stack = Self::coalesced(limited, stats, settings, clock);
        Self { server_state: Some(server_state), ..stack }
    }

    /// Wraps a verifier that introspects tokens. Without cryptography tokens can't be told apart, so
    /// the breaker and the limit treat all alike.
    #[cfg(all(feature = "introspection", not(feature = "_crypto")))]
    pub(super) fn for_introspection(
        verifier: IntrospectionVerifier,
        settings: &Settings,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let breaker = CircuitBreakerLayer::new().clock(Arc::clone(clock)).layer(verifier);
        // Outside of the breaker: a full bulkhead is not a failure of the server.
        let bulkhead =
            settings.max_introspections.map_or_else(BulkheadLayer::default, BulkheadLayer::new);
        let limited = bulkhead.layer(breaker.clone());
        let mut stats =
            vec![stats_fn(&breaker, CircuitBreaker::stats), stats_fn(&limited, Bulkhead::stats)];
        Self::new(settings.within_budget(limited, &mut stats), stats)
    }

    /// Wraps a verifier of the application.
    ///
    /// There is no breaker: the verifier knows best how to treat the store that it asks.
    pub(super) fn for_custom(
        verifier: OwnFacts,
        settings: &Settings,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let mut stats = Vec::new();
        let limited = settings.within_budget(verifier, &mut stats);
        Self::coalesced(limited, stats, settings, clock)
    }

    /// Lets requests with the same token share a verification, and caches its outcome.
    #[cfg(feature = "_crypto")]
    fn coalesced(
        limited: BoxVerifier,
        mut stats: Vec<Arc<StatsFn>>,
        settings: &Settings,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let coalesced = CoalesceLayer::new().clock(Arc::clone(clock)).layer(limited);
        stats.push(stats_fn(&coalesced, Coalesce::stats));
        Self::new(BoxVerifier::new(coalesced.clone()), stats).with_cache(coalesced, settings, clock)
    }

    /// Without cryptography tokens can't be told apart, so nothing is shared or cached.
    #[cfg(not(feature = "_crypto"))]
    const fn coalesced(
        limited: BoxVerifier,
        stats: Vec<Arc<StatsFn>>,
        _: &Settings,
        _: &Arc<dyn Clock>,
    ) -> Self {
        Self::new(limited, stats)
    }

    const fn new(verifier: BoxVerifier, stats: Vec<Arc<StatsFn>>) -> Self {
        Self {
            verifier,
            stats,
            server_state: None,
            #[cfg(feature = "cache")]
            cache: None,
        }
    }

    /// Wraps a verifier that calls no authorization server.
    #[cfg(feature = "jwt")]
    pub(super) fn for_jwt<V>(verifier: V, settings: &Settings, clock: &Arc<dyn Clock>) -> Self
    where
        V: Verifier + Clone + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        Self::new(BoxVerifier::new(verifier.clone()), Vec::new())
            .with_cache(verifier, settings, clock)
    }

    #[cfg(feature = "cache")]
    fn with_cache<V>(mut self, inner: V, settings: &Settings, clock: &Arc<dyn Clock>) -> Self
    where
        V: Verifier + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        if !settings.no_cache {
            let layer = settings.cache.clone().revocations(settings.revocations.clone());
            let cache = layer.clock(Arc::clone(clock)).layer(inner);
            self.stats.push(stats_fn(&cache, Cache::stats));
            self.verifier = BoxVerifier::new(cache.clone());
            self.cache = Some(Arc::new(move |token| cache.evict(token)));
        }
        self
    }

    #[cfg(all(not(feature = "cache"), feature = "_crypto"))]
    fn with_cache<V>(self, _: V, _: &Settings, _: &Arc<dyn Clock>) -> Self {
        self
    }

    pub(super) fn verifier(&self) -> BoxVerifier {
        self.verifier.clone()
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats.iter().map(|stats| stats()).fold(Stats::default(), Stats::merge)
    }

    pub(super) fn server_state(&self) -> Option<ServerState> {
        self.server_state.as_ref().map(|state| state())
    }

    #[cfg(feature = "cache")]
    pub(super) fn evict(&self, token: &Token) -> bool {
        self.cache.as_ref().is_some_and(|evict| evict(token))
    }
}
