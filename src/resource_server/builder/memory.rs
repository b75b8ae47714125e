use std::time::Duration;

use super::ResourceServerBuilder;
use crate::cache::layer::CacheLayer;

/// What is remembered.
///
/// Facts about tokens, never decisions, apart for each issuer. See
/// [`CacheLayer`](crate::verify::CacheLayer) for what that means and for the defaults.
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
impl ResourceServerBuilder {
    /// Sets how old an answer of an authorization server may be. 30 s by default.
    ///
    /// A token that is revoked at *t* is refused no later than *t* + `max_age` + the time of one
    /// introspection. With zero every request is a question.
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

    /// Sets how long a JWT that was verified locally is not verified again. 5 min by default.
    ///
    /// A token whose key is withdrawn meanwhile is not waited for: it drops with the key.
    pub fn jwt_max_age(self, age: Duration) -> Self {
        self.cache(|cache| cache.jwt_max_age(age))
    }

    /// Sets how long it is remembered that a token is no good. 5 s by default.
    pub fn negative_max_age(self, age: Duration) -> Self {
        self.cache(|cache| cache.negative_max_age(age))
    }

    /// Sets how much longer an answer may be used while the authorization server is not available.
    /// Off by default. See [`CacheLayer::stale_if_error`](crate::verify::CacheLayer::stale_if_error).
    ///
    /// # Security
    ///
    /// A revocation is noticed this much later in an outage.
    pub fn stale_if_error(self, more: Duration) -> Self {
        self.cache(|cache| cache.stale_if_error(more))
    }

    /// Sets how many tokens of each issuer are remembered, and how much memory they may take.
    /// 10 000 and 32 MiB by default. Typed claims are not counted.
    pub fn cache_capacity(self, entries: usize, bytes: u64) -> Self {
        self.cache(|cache| cache.capacity(entries, bytes))
    }

    /// Remembers nothing: every token is verified with every request.
    pub fn without_cache(mut self) -> Self {
        self.stack.no_cache = true;
        self
    }

    fn cache(mut self, change: impl FnOnce(CacheLayer) -> CacheLayer) -> Self {
        self.stack.cache = change(self.stack.cache);
        self
    }
}
