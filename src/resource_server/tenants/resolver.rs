//! The settings by which issuers are resolved.

use std::{fmt, sync::Arc};

use super::registry::{Allow, Resolve, Tenants};
use crate::{
    error::refusal::VerifyError,
    resource_server::issuer::{Defaults, Issuer},
};

/// The maximum number of issuers whose state is kept, unless configured.
const DEFAULT_CAPACITY: usize = 1000;

/// The maximum number of calls under way for known issuers, and for all others, unless configured.
const DEFAULT_MAX_CALLS: usize = 32;

/// A resolver that finds issuers when their first token arrives, such as one issuer per tenant.
///
/// `allow` is called with the issuer identifier of a token that is not verified yet. If it returns
/// true, `resolve` returns how the tokens of the issuer are verified, or that the issuer is
/// unknown. The identifier has no other effect: nothing is fetched from it unless `resolve` returns
/// an [`Issuer`] of that name.
///
/// State is kept for a bounded number of issuers, and issuers in use stay. If an issuer is dropped,
/// its keys, connections and background refresh end, and it is resolved again with its next token.
/// All of them together have one cache of tokens
/// ([`cache_capacity`](crate::resource_server::ResourceServerBuilder::cache_capacity)). Tokens that
/// are used often stay in it, whoever issued them.
/// Unknown issuers and failures are cached separately and for a short time, so that made-up issuers
/// can't push out real ones.
///
/// `allow` is called for every token. `resolve` is called again every ten minutes, in the
/// background, for each issuer in use. An issuer that it no longer knows is dropped. While
/// `resolve` fails, its last result holds for at most 24 hours. The verification settings of an
/// issuer do not change while its state is kept.
///
/// A call of `resolve` is limited to three seconds. It continues if the request that caused it is
/// cancelled. At most 32 calls are under way for issuers that `resolve` has known before, and as
/// many for all others ([`max_calls`](Self::max_calls)). 32 times as many wait, for a second at
/// most. A request that finds no place, or waits in vain, is refused with 503 and `Retry-After`. So
/// made-up issuers delay no issuer that is known, only those whose first token comes just then.
///
/// An identifier that the normalization of RFC 3986 §6.2.2 would change is refused before `allow`
/// is called, and so is one that a URL parser or a server may fold into another: upper case in
/// scheme or host, needless or lower-case percent-encoding, dot segments, a backslash, an encoded
/// slash, a default port. An empty path stays empty: `https://as.example.com` and
/// `https://as.example.com/` are two issuers.
///
/// Opaque tokens name no issuer. They go to the issuers given to the builder.
///
/// ```
/// use tower_introspect::{
///     Issuer, ResourceServer,
///     resource_server::IssuerResolver,
/// };
///
/// let tenants = IssuerResolver::new(
///     |issuer| issuer.starts_with("https://login.example.com/tenants/"),
///     async |issuer: String| {
///         // Look up the tenant in the database.
///         let known = ["https://login.example.com/tenants/acme"];
///         Ok(known.contains(&issuer.as_str()).then(|| Issuer::jwt(issuer)))
///     },
/// )
/// .capacity(10_000);
/// let builder = ResourceServer::builder("https://api.example.com").resolve_issuers(tenants);
/// # let _ = builder;
/// ```
///
/// # Security
///
/// Anyone can cause one call of `resolve` per minute for each identifier that `allow` accepts, or
/// one per second while `resolve` fails, 32 at a time. Keep `allow` narrow: a fixed host, and the format of a
/// tenant's name.
#[must_use = "a resolver does nothing until it is given to a builder"]
pub struct IssuerResolver {
    allow: Arc<Allow>,
    resolve: Arc<Resolve>,
    capacity: usize,
    max_calls: usize,
}

impl IssuerResolver {
    /// Creates a resolver that calls `resolve` for the issuers that `allow` accepts.
    ///
    /// If `resolve` can't tell at the moment, it should return an error of the kind
    /// [`Unavailable`](crate::ErrorKind::Unavailable).
    pub fn new<A, R, F>(allow: A, resolve: R) -> Self
    where
        A: Fn(&str) -> bool + Send + Sync + 'static,
        R: Fn(String) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<Issuer>, VerifyError>> + Send + 'static,
    {
        Self {
            allow: Arc::new(allow),
            resolve: Arc::new(move |issuer| Box::pin(resolve(issuer))),
            capacity: DEFAULT_CAPACITY,
            max_calls: DEFAULT_MAX_CALLS,
        }
    }

    /// Sets the maximum number of issuers whose state is kept. 1000 by default.
    pub fn capacity(mut self, issuers: usize) -> Self {
        self.capacity = issuers;
        self
    }

    /// Sets how many calls of `resolve` may be under way for issuers that it has known before, and
    /// how many for all others. 32 of each by default.
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.max_calls = calls;
        self
    }

    pub(in crate::resource_server) fn build(self, defaults: Defaults) -> Tenants {
        Tenants::new(self.allow, self.resolve, defaults, self.capacity, self.max_calls)
    }
}

impl fmt::Debug for IssuerResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerResolver").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
