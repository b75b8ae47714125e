//! The layers around the verifier of an issuer: cache, coalescing, miss budget, bulkhead and
//! circuit breaker.

use std::sync::Arc;

use tower_layer::Layer;

#[cfg(feature = "_crypto")]
use crate::upstream::coalesce::{Coalesce, CoalesceLayer};
#[cfg(feature = "cache")]
use crate::{
    cache::{layer::CacheLayer, verifier::Cache},
    credentials::token::Token,
};
use crate::{
    clock::Clock,
    revocation::revocations::Revocations,
    route::by_issuer::Route,
    upstream::{
        breaker::{CircuitBreaker, CircuitBreakerLayer},
        budget::{MissBudget, MissBudgetLayer},
        bulkhead::{Bulkhead, BulkheadLayer},
    },
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
    pub(super) bulkhead: BulkheadLayer,
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
}

/// A verifier with the layers around it. Issuers never share a stack.
#[derive(Clone)]
pub(super) struct Stack {
    verifier: BoxVerifier,
    /// The counters of each layer.
    stats: Vec<Arc<StatsFn>>,
    #[cfg(feature = "cache")]
    cache: Option<Arc<EvictFn>>,
}

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
    /// Wraps a verifier that calls the authorization server.
    #[cfg(feature = "introspection")]
    pub(super) fn for_introspection<V>(
        verifier: V,
        settings: &Settings,
        clock: &Arc<dyn Clock>,
    ) -> Self
    where
        V: Verifier + Clone + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        let breaker = CircuitBreakerLayer::new().clock(Arc::clone(clock)).layer(verifier);
        // Outside of the breaker: a full bulkhead is not a failure of the server.
        let limited = settings.bulkhead.layer(breaker.clone());
        let mut stats =
            vec![stats_fn(&breaker, CircuitBreaker::stats), stats_fn(&limited, Bulkhead::stats)];
        let limited = match &settings.budget {
            Some(budget) => {
                let guarded = budget.layer(limited);
                stats.push(stats_fn(&guarded, MissBudget::stats));
                BoxVerifier::new(guarded)
            }
            None => BoxVerifier::new(limited),
        };
        #[cfg(feature = "_crypto")]
        return {
            let coalesced = CoalesceLayer::new().clock(Arc::clone(clock)).layer(limited);
            stats.push(stats_fn(&coalesced, Coalesce::stats));
            Self::new(BoxVerifier::new(coalesced.clone()), stats)
                .with_cache(coalesced, settings, clock)
        };
        #[cfg(not(feature = "_crypto"))]
        Self::new(limited, stats)
    }

    const fn new(verifier: BoxVerifier, stats: Vec<Arc<StatsFn>>) -> Self {
        Self {
            verifier,
            stats,
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

    #[cfg(feature = "cache")]
    pub(super) fn evict(&self, token: &Token) -> bool {
        self.cache.as_ref().is_some_and(|evict| evict(token))
    }
}
