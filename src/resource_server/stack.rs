//! The layers around the verifier of an issuer: cache, coalescing, miss budget, bulkhead and
//! circuit breaker.

use std::sync::Arc;

use tower_layer::Layer;

#[cfg(feature = "_crypto")]
use crate::upstream::coalesce::{Coalesce, CoalesceLayer};
#[cfg(all(feature = "cache", feature = "_crypto"))]
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
    #[cfg(all(feature = "cache", feature = "_crypto"))]
    pub(super) cache: CacheLayer,
    #[cfg(all(feature = "cache", feature = "_crypto"))]
    pub(super) no_cache: bool,
    pub(super) budget: Option<MissBudgetLayer>,
    pub(super) bulkhead: BulkheadLayer,
    pub(super) revocations: Revocations,
}

impl Settings {
    /// Makes `route` cache the issuers of as many tokens as each cache holds, unless the cache is
    /// off.
    pub(super) fn remember_issuers(&self, route: Route) -> Route {
        #[cfg(all(feature = "cache", feature = "_crypto"))]
        if !self.no_cache {
            return route.remembering(self.cache.entries());
        }
        route
    }
}

/// A verifier with the layers around it. Issuers never share a stack.
#[derive(Clone)]
pub(super) struct Stack {
    verifier: BoxVerifier,
    parts: Vec<Arc<dyn Part>>,
}

/// A layer of a stack, with its counters and perhaps a cache.
trait Part: Send + Sync {
    fn stats(&self) -> Stats;

    #[cfg(all(feature = "cache", feature = "_crypto"))]
    fn evict(&self, _: &Token) -> bool {
        false
    }
}

impl Stack {
    /// Wraps a verifier that calls the authorization server.
    #[cfg(feature = "introspection")]
    pub(super) fn remote<V>(verifier: V, settings: &Settings, clock: &Arc<dyn Clock>) -> Self
    where
        V: Verifier + Clone + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        let breaker = CircuitBreakerLayer::new().clock(Arc::clone(clock)).layer(verifier);
        // Outside of the breaker: a full bulkhead is not a failure of the server.
        let house = settings.bulkhead.layer(breaker.clone());
        let mut parts: Vec<Arc<dyn Part>> = vec![Arc::new(breaker), Arc::new(house.clone())];
        let house = match &settings.budget {
            Some(budget) => {
                let guarded = budget.layer(house);
                parts.push(Arc::new(guarded.clone()));
                BoxVerifier::new(guarded)
            }
            None => BoxVerifier::new(house),
        };
        #[cfg(feature = "_crypto")]
        return {
            let flights = CoalesceLayer::new().clock(Arc::clone(clock)).layer(house);
            parts.push(Arc::new(flights.clone()));
            Self { verifier: BoxVerifier::new(flights.clone()), parts }
                .remembering(flights, settings, clock)
        };
        #[cfg(not(feature = "_crypto"))]
        Self { verifier: house, parts }
    }

    /// Wraps a verifier that calls no authorization server.
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    pub(super) fn local<V>(verifier: V, settings: &Settings, clock: &Arc<dyn Clock>) -> Self
    where
        V: Verifier + Clone + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        Self { verifier: BoxVerifier::new(verifier.clone()), parts: Vec::new() }
            .remembering(verifier, settings, clock)
    }

    #[cfg(all(feature = "cache", feature = "_crypto"))]
    fn remembering<V>(mut self, inner: V, settings: &Settings, clock: &Arc<dyn Clock>) -> Self
    where
        V: Verifier + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        if !settings.no_cache {
            let layer = settings.cache.clone().revocations(settings.revocations.clone());
            let cache = layer.clock(Arc::clone(clock)).layer(inner);
            self.parts.push(Arc::new(cache.clone()));
            self.verifier = BoxVerifier::new(cache);
        }
        self
    }

    #[cfg(all(not(feature = "cache"), feature = "_crypto"))]
    fn remembering<V>(self, _: V, _: &Settings, _: &Arc<dyn Clock>) -> Self {
        self
    }

    pub(super) fn verifier(&self) -> BoxVerifier {
        self.verifier.clone()
    }

    pub(super) fn stats(&self) -> Stats {
        self.parts.iter().map(|part| part.stats()).fold(Stats::default(), Stats::merge)
    }

    #[cfg(all(feature = "cache", feature = "_crypto"))]
    pub(super) fn evict(&self, token: &Token) -> bool {
        self.parts.iter().filter(|part| part.evict(token)).count() > 0
    }
}

#[cfg(all(feature = "cache", feature = "_crypto"))]
impl<V: Send + Sync> Part for Cache<V> {
    fn stats(&self) -> Stats {
        self.stats()
    }

    fn evict(&self, token: &Token) -> bool {
        self.evict(token)
    }
}

#[cfg(feature = "_crypto")]
impl<V: Send + Sync> Part for Coalesce<V> {
    fn stats(&self) -> Stats {
        self.stats()
    }
}

impl<V: Send + Sync> Part for Bulkhead<V> {
    fn stats(&self) -> Stats {
        self.stats()
    }
}

impl<V: Send + Sync> Part for MissBudget<V> {
    fn stats(&self) -> Stats {
        self.stats()
    }
}

impl<V: Send + Sync> Part for CircuitBreaker<V> {
    fn stats(&self) -> Stats {
        self.stats()
    }
}
