//! Issuers that are not known beforehand.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture as Boxed, FutureExt as _, Shared as Joined};
use quick_cache::sync::Cache;
use tokio::{runtime::Handle, sync::oneshot};

use super::issuer::{Defaults, Issuer, Trusted, verifier_of};
#[cfg(feature = "cache")]
use crate::credentials::Token;
use crate::{
    clock::Moment,
    error::{kind::ErrorKind, refusal::VerifyError},
    route::by_issuer::Strangers,
    verify::{
        Verifier, Verifying,
        boxed::{BoxFuture, BoxVerifier},
        request::VerifyRequest,
        stats::Stats,
    },
};

/// The most issuers whose state is kept, unless configured.
const DEFAULT_CAPACITY: usize = 1000;

/// The most issuers that are remembered as unknown.
const MAX_UNKNOWN: usize = 1000;

/// An issuer that the resolver does not know is not asked for again for this long.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// After the resolver failed on an issuer, it is not asked for that one again for this long.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// The time for one call of the resolver.
const TIMEOUT: Duration = Duration::from_secs(3);

/// After this long the resolver is asked, in the background, whether it still knows an issuer.
const KNOWN_FOR: Duration = Duration::from_secs(10 * 60);

/// An issuer is trusted for this long while the resolver can't tell.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

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
/// `allow` has its say on every token. `resolve` is asked again every ten minutes, in the background,
/// whether it still knows an issuer that is in use; one it does not know any more is dropped. While
/// it fails, the last answer holds for at most 24 hours. How the tokens of an issuer are verified
/// stays as it was said when its state was made.
///
/// A call of `resolve` has three seconds, and goes on if whoever caused it is gone.
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
            defaults: Defaults { resolved: true, ..defaults },
            known: Cache::new(self.capacity.max(1)),
            unknown: Cache::new(MAX_UNKNOWN),
            gone: Arc::default(),
            flights: Mutex::default(),
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
    known: Cache<String, Tenant>,
    unknown: Cache<String, Unknown>,
    gone: Arc<Gone>,
    /// The calls of the resolver under way.
    flights: Mutex<HashMap<String, Flight>>,
}

#[derive(Clone)]
struct Tenant {
    verifier: BoxVerifier,
    kept: Arc<Kept>,
    /// When the resolver last said that it knows it.
    since: Moment,
}

/// An issuer whose state is kept. When that ends, what it has counted is not lost: numbers that only
/// grow must not shrink because of tokens of other issuers.
struct Kept {
    trusted: Trusted,
    gone: Arc<Gone>,
}

/// What issuers have counted whose state is kept no more.
#[derive(Default)]
struct Gone(Mutex<Stats>);

impl Gone {
    fn lock(&self) -> MutexGuard<'_, Stats> {
        // Whole at every point that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let counted = self.trusted.stats().counted();
        let mut gone = self.gone.lock();
        *gone = gone.merge(counted);
    }
}

/// Why there is no verifier, and until when that holds.
#[derive(Clone)]
struct Unknown {
    error: VerifyError,
    since: Moment,
    lasts: Duration,
}

/// A call of the resolver under way, for all who wait for it.
type Flight = Joined<Boxed<'static, Result<BoxVerifier, VerifyError>>>;

impl Tenants {
    /// What the parts around the verifiers have come to, of those that are kept and those that were.
    pub(super) fn stats(&self) -> Stats {
        // In this order, one that goes in between is missed rather than counted twice.
        let gone = *self.0.gone.lock();
        let each = self.0.known.iter().map(|(_, tenant)| tenant.kept.trusted.stats());
        each.fold(gone, Stats::merge)
    }

    /// The same for one of them.
    pub(super) fn stats_of(&self, issuer: &str) -> Option<Stats> {
        self.0.known.peek(issuer).map(|tenant| tenant.kept.trusted.stats())
    }

    /// Forgets a token.
    #[cfg(feature = "cache")]
    pub(super) fn evict(&self, token: &Token) -> bool {
        let each = self.0.known.iter();
        each.filter(|(_, tenant)| tenant.kept.trusted.evict(token)).count() > 0
    }
}

impl Strangers for Tenants {
    fn verify(&self, issuer: &str, request: VerifyRequest) -> Verifying<BoxFuture> {
        if !(self.0.allow)(issuer) {
            return Verifying::done(Err(ErrorKind::UnknownIssuer.into()));
        }
        match self.0.look_up(issuer) {
            Ok(verifier) => verifier.verify(request),
            Err(Missing::Refused(error)) => Verifying::done(Err(error)),
            Err(Missing::Resolving(flight)) => {
                Verifying::pending(Box::pin(async move { flight.await?.verify(request).await }))
            }
        }
    }
}

/// There is no verifier, or not yet.
enum Missing {
    Refused(VerifyError),
    Resolving(Flight),
}

impl Shared {
    /// The verifier of an issuer. Resolved once however many ask for it at a time.
    fn look_up(self: &Arc<Self>, issuer: &str) -> Result<BoxVerifier, Missing> {
        let Some((verifier, age)) = self.known(issuer) else { return Err(self.resolve(issuer)) };
        if age >= KNOWN_FOR {
            // What comes of it shows with a later token.
            let _ = self.resolve(issuer);
        }
        Ok(verifier)
    }

    fn known(&self, issuer: &str) -> Option<(BoxVerifier, Duration)> {
        let Tenant { verifier, since, .. } = self.known.get(issuer)?;
        let age = self.now().since(since);
        (age < KEEP).then_some((verifier, age))
    }

    /// The call of the resolver under way, or a new one if nothing forbids it. It runs in a task of
    /// its own, so that clients that go away can't cause more calls than those that stay.
    fn resolve(self: &Arc<Self>, issuer: &str) -> Missing {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(issuer) {
            return Missing::Resolving(flight.clone());
        }
        // A flight is over only when what came of it can be seen.
        if let Some(error) = self.refused(issuer) {
            return Missing::Refused(error);
        }
        if let Some((verifier, _)) = self.known(issuer).filter(|(_, age)| *age < KNOWN_FOR) {
            return Missing::Resolving(std::future::ready(Ok(verifier)).boxed().shared());
        }
        let Ok(runtime) = Handle::try_current() else {
            let error = VerifyError::new(ErrorKind::Unavailable);
            let context = "no issuer can be resolved outside of a Tokio runtime";
            return Missing::Refused(error.with_context(context));
        };
        let (sender, outcome) = oneshot::channel();
        let outcome = outcome.map(|outcome| outcome.unwrap_or_else(|_| Err(broke_off())));
        let flight = outcome.boxed().shared();
        flights.insert(issuer.to_owned(), flight.clone());
        // A runtime that is shutting down drops the task at once, and that takes the lock.
        drop(flights);
        let call = Call { shared: Arc::clone(self), issuer: issuer.to_owned() };
        runtime.spawn(async move {
            // Nobody may be waiting any more.
            let _ = sender.send(call.shared.resolved(&call.issuer).await);
        });
        Missing::Resolving(flight)
    }

    /// Calls the resolver, and takes over what it says.
    async fn resolved(&self, issuer: &str) -> Result<BoxVerifier, VerifyError> {
        let since = self.now();
        let answer = tokio::time::timeout(TIMEOUT, (self.resolve)(issuer.to_owned())).await;
        let outcome = match answer {
            Ok(Ok(Some(found))) => self.tenant(issuer, found, since),
            Ok(Ok(None)) => Err(ErrorKind::UnknownIssuer.into()),
            Ok(Err(error)) => Err(error),
            Err(elapsed) => {
                let error = VerifyError::new(ErrorKind::Unavailable).with_source(elapsed);
                Err(error.with_context("the resolver took too long"))
            }
        };
        match &outcome {
            Ok(tenant) => self.known.insert(issuer.to_owned(), tenant.clone()),
            Err(error) => self.note(issuer, error),
        }
        outcome.map(|tenant| tenant.verifier)
    }

    fn note(&self, issuer: &str, error: &VerifyError) {
        let unknown = error.kind() == ErrorKind::UnknownIssuer;
        if unknown {
            self.known.remove(issuer);
        }
        let lasts = if unknown { UNKNOWN_FOR } else { FAILED_FOR };
        let entry = Unknown { error: error.clone(), since: self.now(), lasts };
        self.unknown.insert(issuer.to_owned(), entry);
    }

    /// What the resolver found: the tenant there is, with its keys, or a new one.
    fn tenant(&self, issuer: &str, found: Issuer, since: Moment) -> Result<Tenant, VerifyError> {
        let misconfigured = |context: &'static str| {
            VerifyError::new(ErrorKind::Misconfigured).with_context(context)
        };
        // Under another name it would vouch for tokens that it was not asked about.
        if found.name() != issuer {
            return Err(misconfigured("the resolver gave an issuer of another name"));
        }
        if let Some(tenant) = self.known.get(issuer).filter(|_| self.known(issuer).is_some()) {
            return Ok(Tenant { since, ..tenant });
        }
        let trusted: Trusted = found.build(&self.defaults).map_err(|problems| {
            misconfigured("the resolver gave a faulty issuer").with_source(problems)
        })?;
        let verifier = verifier_of(std::slice::from_ref(&trusted), |route| route);
        let kept = Kept { trusted, gone: Arc::clone(&self.gone) };
        Ok(Tenant { verifier, kept: Arc::new(kept), since })
    }

    fn refused(&self, issuer: &str) -> Option<VerifyError> {
        let entry = self.unknown.get(issuer)?;
        (self.now().since(entry.since) < entry.lasts).then_some(entry.error)
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.defaults.clock)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, Flight>> {
        // The map is whole at every point that could panic.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call of the resolver. However it ends, it is under way no longer.
struct Call {
    shared: Arc<Shared>,
    issuer: String,
}

impl Drop for Call {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.note(&self.issuer, &broke_off());
        }
        self.shared.flights().remove(&self.issuer);
    }
}

/// The resolver panicked, or its runtime is gone.
fn broke_off() -> VerifyError {
    VerifyError::new(ErrorKind::Misconfigured).with_context("the resolver broke off")
}
