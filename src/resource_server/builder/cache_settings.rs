//! The cache settings of the builder.

use std::time::Duration;

use super::server_builder::ResourceServerBuilder;
use crate::cache::layer::CacheLayer;

/// Settings of the cache.
///
/// The cache holds facts about tokens, never decisions. Each issuer has its own. See
/// [`CacheLayer`](crate::cache::CacheLayer) for the details and the defaults.
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
impl<R> ResourceServerBuilder<R> {
    /// Sets the maximum age of a cached introspection response. 30 s by default.
    ///
    /// A token that is revoked at *t* is refused no later than *t* + `max_age` + the time of one
    /// introspection. With zero, every request causes an introspection.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::ResourceServer;
    ///
    /// let builder = ResourceServer::builder("https://api.example.com")
    ///     .max_age(Duration::from_secs(10))
    ///     .cache_capacity(100_000, 128 << 20);
    /// # let _ = builder;
    /// ```
    pub fn max_age(self, age: Duration) -> Self {
        self.cache(|cache| cache.max_age(age))
    }

    /// Sets how long a locally verified JWT is not verified again. 5 min by default.
    ///
    /// If its key is withdrawn in the meantime, the JWT is dropped together with the key.
    pub fn jwt_max_age(self, age: Duration) -> Self {
        self.cache(|cache| cache.jwt_max_age(age))
    }

    /// Sets how long the refusal of a token is cached. 5 s by default.
    pub fn negative_max_age(self, age: Duration) -> Self {
        self.cache(|cache| cache.negative_max_age(age))
    }

    /// Sets how much longer a cached response may be used while the authorization server is
    /// unavailable.
    ///
    /// Off by default. See
    /// [`CacheLayer::stale_if_error`](crate::cache::CacheLayer::stale_if_error).
    ///
    /// # Security
    ///
    /// During an outage, a revocation is noticed this much later.
    pub fn stale_if_error(self, more: Duration) -> Self {
        self.cache(|cache| cache.stale_if_error(more))
    }

    /// Sets how many tokens are cached per issuer, and how many bytes of memory they may take.
    ///
    /// 10 000 tokens and 32 MiB by default. Typed claims are not counted. All issuers of an
    /// `IssuerResolver` share this capacity, however many there are.
    pub fn cache_capacity(self, entries: usize, bytes: u64) -> Self {
        self.cache(|cache| cache.capacity(entries, bytes))
    }

    /// Turns the cache off: every token is verified with every request.
    pub fn without_cache(mut self) -> Self {
        self.stack.no_cache = true;
        self
    }

    fn cache(mut self, change: impl FnOnce(CacheLayer) -> CacheLayer) -> Self {
        self.stack.cache = change(self.stack.cache);
        self
    }
}
