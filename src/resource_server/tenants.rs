//! Issuers that are not known beforehand.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use quick_cache::sync::Cache;

use super::{
    Issuer,
    issuer::{Defaults, Trusted, verifier_of},
};
use crate::{
    clock::Moment,
    error::{ErrorKind, VerifyError},
    verify::{BoxFuture, BoxVerifier, Outcome, Strangers, Verifier, VerifyRequest, Verifying},
};

/// The most issuers whose state is kept, unless configured.
const DEFAULT_CAPACITY: usize = 1000;

/// The most issuers that are remembered as unknown.
const MAX_UNKNOWN: usize = 1000;

/// An issuer that the resolver does not know is not asked for again for this long.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// After the resolver failed on an issuer, it is not asked for that one again for this long.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// Finds out about issuers when their first token comes: those of the tenants of a service, say.
///
/// An issuer is looked at only if `allow` is true for its identifier, which comes from a token that
/// nobody has verified; then `resolve` says how its tokens are verified, or that it is unknown. The
/// identifier leads to nothing else: nothing is fetched from it unless `resolve` gives an
/// [`Issuer`] of that name.
///
/// State is kept for a bounded number of issuers. Issuers that are used stay; the keys, connections
/// and background refresh of one that is dropped end with it, and it is resolved anew when it comes
/// again. What is unknown, and what failed, is remembered apart and for a short time, so that
/// invented issuers push no real one out.
///
/// Opaque tokens name no issuer: they go to the issuers given to the builder.
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
///         // Ask the database for the tenant.
///         Ok(issuer.ends_with("/acme").then(|| Issuer::jwt(issuer)))
///     },
/// )
/// .capacity(10_000);
/// let builder = ResourceServer::builder("https://api.example.com").resolve_issuers(tenants);
/// # let _ = builder;
/// ```
///
/// # Security
///
/// Anyone can cause one call of `resolve` per minute for each identifier that `allow` lets through.
/// Keep `allow` narrow: a fixed host, and the form of a tenant's name.
#[must_use = "a resolver is asked only once it is given to a builder"]
pub struct IssuerResolver {
    allow: Arc<Allow>,
    resolve: Arc<Resolve>,
    capacity: usize,
}

type Allow = dyn Fn(&str) -> bool + Send + Sync;
type Resolve = dyn Fn(String) -> Pin<Box<dyn Future<Output = Resolved> + Send>> + Send + Sync;
type Resolved = Result<Option<Issuer>, VerifyError>;

impl IssuerResolver {
    /// Asks `resolve` about the issuers that `allow` lets through.
    ///
    /// An error of `resolve` says that it can't tell now: use
    /// [`Unavailable`](ErrorKind::Unavailable).
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
        }
    }

    /// Sets how many issuers' state is kept. 1000 by default.
    pub fn capacity(mut self, issuers: usize) -> Self {
        self.capacity = issuers;
        self
    }

    pub(super) fn build(self, defaults: Defaults) -> Tenants {
        Tenants(Arc::new(Shared {
            allow: self.allow,
            resolve: self.resolve,
            defaults,
            known: Cache::new(self.capacity.max(1)),
            unknown: Cache::new(MAX_UNKNOWN),
        }))
    }
}

impl fmt::Debug for IssuerResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerResolver").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// The issuers found so far.
#[derive(Clone)]
pub(super) struct Tenants(Arc<Shared>);

struct Shared {
    allow: Arc<Allow>,
    resolve: Arc<Resolve>,
    defaults: Defaults,
    known: Cache<String, BoxVerifier>,
    unknown: Cache<String, Unknown>,
}

/// Why there is no verifier, and until when that holds.
#[derive(Clone)]
struct Unknown {
    error: VerifyError,
    since: Moment,
    lasts: Duration,
}

impl Strangers for Tenants {
    fn verify(&self, issuer: &str, request: VerifyRequest) -> Verifying<BoxFuture> {
        if let Some(verifier) = self.0.known.get(issuer) {
            return verifier.verify(request);
        }
        if !(self.0.allow)(issuer) {
            return Verifying::done(Err(ErrorKind::UnknownIssuer.into()));
        }
        if let Some(error) = self.0.refused(issuer) {
            return Verifying::done(Err(error));
        }
        let (shared, issuer) = (Arc::clone(&self.0), issuer.to_owned());
        Verifying::pending(Box::pin(async move { shared.find(&issuer, request).await }))
    }
}

impl Shared {
    /// The verifier of an issuer, resolved once however many ask for it at a time.
    async fn find(&self, issuer: &str, request: VerifyRequest) -> Outcome {
        let verifier = self.known.get_or_insert_async(issuer, async {
            // Whoever asked before us may have failed.
            match self.refused(issuer) {
                Some(error) => Err(error),
                None => self.resolved(issuer).await,
            }
        });
        verifier.await?.verify(request).await
    }

    async fn resolved(&self, issuer: &str) -> Result<BoxVerifier, VerifyError> {
        let outcome = match (self.resolve)(issuer.to_owned()).await {
            Ok(Some(found)) => self.verifier(issuer, found),
            Ok(None) => Err(ErrorKind::UnknownIssuer.into()),
            Err(error) => Err(error),
        };
        outcome.inspect_err(|error| {
            let unknown = error.kind() == ErrorKind::UnknownIssuer;
            let lasts = if unknown { UNKNOWN_FOR } else { FAILED_FOR };
            let since = Moment::now(&*self.defaults.clock);
            let entry = Unknown { error: error.clone(), since, lasts };
            self.unknown.insert(issuer.to_owned(), entry);
        })
    }

    fn verifier(&self, issuer: &str, found: Issuer) -> Result<BoxVerifier, VerifyError> {
        let misconfigured = |context: &'static str| {
            VerifyError::new(ErrorKind::Misconfigured).with_context(context)
        };
        // Under another name it would vouch for tokens that it was not asked about.
        if found.name() != issuer {
            return Err(misconfigured("the resolver gave an issuer of another name"));
        }
        let trusted: Trusted = found.build(&self.defaults).map_err(|problems| {
            misconfigured("the resolver gave a faulty issuer").with_source(problems)
        })?;
        Ok(verifier_of(std::slice::from_ref(&trusted)))
    }

    fn refused(&self, issuer: &str) -> Option<VerifyError> {
        let entry = self.unknown.get(issuer)?;
        let age = Moment::now(&*self.defaults.clock).since(entry.since);
        (age < entry.lasts).then_some(entry.error)
    }
}
