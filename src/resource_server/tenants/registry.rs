//! The issuers found so far, and the calls of the resolver.

use std::{
    collections::HashMap,
    future::ready,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture as Boxed, FutureExt as _, Shared as Joined};
use quick_cache::sync::Cache;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    calls::{ConfirmedIssuers, Lane, busy},
    identifier::is_normal,
    tenant::{DroppedStats, Tenant, TenantState},
};
#[cfg(feature = "cache")]
use crate::credentials::token::Token;
#[cfg(feature = "signals")]
use crate::signals::issuers::FindKeys;
use crate::{
    clock::Moment,
    error::{kind::ErrorKind, refusal::VerifyError},
    resource_server::{
        issuer::{Defaults, Issuer},
        trusted::{TrustedIssuer, verifier_of},
    },
    route::by_issuer::DynamicIssuers,
    verify::{
        boxed::{BoxFuture, BoxVerifier},
        request::VerifyRequest,
        stats::Stats,
        verifier::{Verifier, Verifying},
    },
};

/// The maximum number of issuers for which a refusal is cached.
const MAX_REFUSALS: usize = 1000;

/// How long the resolver is not called again for an issuer that it does not know.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// How long the resolver is not called again for an issuer after it failed on that issuer.
const FAILED_FOR: Duration = Duration::from_secs(1);

/// The time limit of one call of the resolver.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The age at which the resolver is called again for a known issuer, in the background.
const RECHECK_AFTER: Duration = Duration::from_secs(10 * 60);

/// How long an issuer stays trusted while the resolver fails.
const TRUSTED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) type Allow = dyn Fn(&str) -> bool + Send + Sync;
pub(super) type Resolve =
    dyn Fn(String) -> Pin<Box<dyn Future<Output = Resolved> + Send>> + Send + Sync;
pub(super) type Resolved = Result<Option<Issuer>, VerifyError>;

/// The issuers found so far.
#[derive(Clone)]
pub(in crate::resource_server) struct Tenants(Arc<Shared>);

struct Shared {
    allow: Arc<Allow>,
    resolve: Arc<Resolve>,
    defaults: Defaults,
    known: Cache<String, Tenant>,
    refusals: Cache<String, CachedRefusal>,
    dropped: Arc<DroppedStats>,
    /// The calls of the resolver that are under way or wait, by issuer.
    flights: Mutex<HashMap<String, Flight>>,
    confirmed: ConfirmedIssuers,
    /// The calls for confirmed issuers.
    for_confirmed: Lane,
    /// The calls for all others.
    for_others: Lane,
}

/// The error for an issuer without a verifier, and how long it holds.
#[derive(Clone)]
struct CachedRefusal {
    error: VerifyError,
    since: Moment,
    lasts: Duration,
}

/// A call of the resolver that is under way, shared by all requests that wait for it.
type Flight = Joined<Boxed<'static, Result<BoxVerifier, VerifyError>>>;

impl Tenants {
    pub(super) fn new(
        allow: Arc<Allow>,
        resolve: Arc<Resolve>,
        mut defaults: Defaults,
        capacity: usize,
        max_calls: usize,
    ) -> Self {
        defaults.stack.share_cache_capacity();
        Self(Arc::new(Shared {
            allow,
            resolve,
            defaults: Defaults { is_resolved: true, ..defaults },
            known: Cache::new(capacity.max(1)),
            refusals: Cache::new(MAX_REFUSALS),
            dropped: Arc::default(),
            flights: Mutex::default(),
            confirmed: ConfirmedIssuers::new(capacity),
            for_confirmed: Lane::new(max_calls),
            for_others: Lane::new(max_calls),
        }))
    }

    /// Returns the counters of all issuers, kept and dropped.
    pub(in crate::resource_server) fn stats(&self) -> Stats {
        // In this order, an issuer that is dropped in between is missed rather than counted twice.
        let dropped = *self.0.dropped.lock();
        let each = self.0.known.iter().map(|(_, tenant)| tenant.state.trusted.stats());
        let all = each.fold(dropped, Stats::merge);
        match self.0.defaults.stack.shared_cache_use() {
            // Includes what the caches of dropped issuers still take.
            Some((entries, bytes)) => Stats { entries, bytes, ..all },
            None => all,
        }
    }

    /// Returns the counters of one issuer whose state is kept.
    pub(in crate::resource_server) fn stats_of(&self, issuer: &str) -> Option<Stats> {
        self.0.known.peek(issuer).map(|tenant| tenant.state.trusted.stats())
    }

    /// Removes a token from the caches. Returns true if it was cached.
    #[cfg(feature = "cache")]
    pub(in crate::resource_server) fn evict(&self, token: &Token) -> bool {
        let each = self.0.known.iter();
        each.filter(|(_, tenant)| tenant.state.trusted.evict(token)).count() > 0
    }
}

#[cfg(feature = "signals")]
impl Tenants {
    /// Returns true if the resolver may be called for an issuer.
    pub(in crate::resource_server) fn allows(&self, issuer: &str) -> bool {
        is_normal(issuer) && (self.0.allow)(issuer)
    }

    /// Returns the keys by which an issuer signs logout tokens.
    pub(in crate::resource_server) fn statement_keys(&self, issuer: &str) -> FindKeys {
        let (resolved, shared) = (self.resolve(issuer), Arc::clone(&self.0));
        let issuer = issuer.to_owned();
        Box::pin(async move {
            let tenant = resolved.await?.then(|| shared.known.get(&issuer)).flatten();
            Ok(tenant.and_then(|tenant| tenant.state.trusted.statement_keys.clone()))
        })
    }

    /// Returns true if the tokens of an issuer are accepted. Calls the resolver if that is not known.
    pub(in crate::resource_server) fn resolve(
        &self,
        issuer: &str,
    ) -> Boxed<'static, Result<bool, VerifyError>> {
        if !is_normal(issuer) || !(self.0.allow)(issuer) {
            return Box::pin(ready(Ok(false)));
        }
        let looked_up = self.0.look_up(issuer);
        Box::pin(async move {
            let found = match looked_up {
                Err(Missing::Resolving(flight)) => flight.await.map(drop),
                Err(Missing::Refused(error)) => Err(error),
                Ok(_) => Ok(()),
            };
            match found {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::UnknownIssuer => Ok(false),
                Err(error) => Err(error),
            }
        })
    }
}

impl DynamicIssuers for Tenants {
    fn verify(&self, issuer: &str, request: VerifyRequest) -> Verifying<BoxFuture> {
        if !is_normal(issuer) {
            let error = VerifyError::new(ErrorKind::UnknownIssuer);
            let context = "the issuer identifier is not in its normal form (RFC 3986 §6.2.2)";
            return Verifying::done(Err(error.with_context(context)));
        }
        if !(self.0.allow)(issuer) {
            return Verifying::done(Err(ErrorKind::UnknownIssuer.into()));
        }
        match self.0.look_up(issuer) {
            Ok(verifier) => verifier.verify(request),
            Err(Missing::Refused(error)) => Verifying::done(Err(error)),
            Err(Missing::Resolving(flight)) => {
                Verifying::pending(BoxFuture::new(
                    async move { flight.await?.verify(request).await },
                ))
            }
        }
    }
}

/// The reason for the lack of a verifier: a refusal, or a call of the resolver under way.
enum Missing {
    Refused(VerifyError),
    Resolving(Flight),
}

impl Shared {
    /// Returns the verifier of an issuer. Concurrent requests share one call of the resolver.
    fn look_up(self: &Arc<Self>, issuer: &str) -> Result<BoxVerifier, Missing> {
        let Some((verifier, age)) = self.cached(issuer) else {
            return Err(self.resolve(issuer));
        };
        if age >= RECHECK_AFTER {
            // The result takes effect with a later token.
            let _ = self.resolve(issuer);
        }
        Ok(verifier)
    }

    fn cached(&self, issuer: &str) -> Option<(BoxVerifier, Duration)> {
        let Tenant { verifier, since, .. } = self.known.get(issuer)?;
        let age = self.now().since(since);
        (age < TRUSTED_FOR).then_some((verifier, age))
    }

    /// Returns the call of the resolver that is under way, or starts one if nothing forbids it.
    ///
    /// The call runs in a task of its own, so that clients that disconnect can't cause more calls
    /// than clients that stay.
    fn resolve(self: &Arc<Self>, issuer: &str) -> Missing {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(issuer) {
            return Missing::Resolving(flight.clone());
        }
        // A flight ends only after its result is stored, so the result of the last one is visible
        // here.
        if let Some(error) = self.cached_refusal(issuer) {
            return Missing::Refused(error);
        }
        if let Some((verifier, _)) = self.cached(issuer).filter(|(_, age)| *age < RECHECK_AFTER) {
            return Missing::Resolving(ready(Ok(verifier)).boxed().shared());
        }
        let Ok(runtime) = Handle::try_current() else {
            let error = VerifyError::new(ErrorKind::Unavailable);
            let context = "no issuer can be resolved outside of a Tokio runtime";
            return Missing::Refused(error.with_context(context));
        };
        let lane =
            if self.confirmed.contains(issuer) { &self.for_confirmed } else { &self.for_others };
        let Some(place) = lane.enter() else { return Missing::Refused(busy()) };
        let (sender, outcome) = oneshot::channel();
        let outcome = outcome.map(|outcome| outcome.unwrap_or_else(|_| Err(resolver_died())));
        let flight = outcome.boxed().shared();
        flights.insert(issuer.to_owned(), flight.clone());
        // A runtime that shuts down drops the task at once, and `Call::drop` takes the lock.
        drop(flights);
        let call = Call { shared: Arc::clone(self), issuer: issuer.to_owned() };
        runtime.spawn(async move {
            let outcome = match place.turn().await {
                Some(_turn) => call.shared.call_resolver(&call.issuer).await,
                None => Err(busy()),
            };
            // The receivers may all be gone.
            let _ = sender.send(outcome);
        });
        Missing::Resolving(flight)
    }

    /// Calls the resolver and stores its result.
    async fn call_resolver(&self, issuer: &str) -> Result<BoxVerifier, VerifyError> {
        let since = self.now();
        let result = tokio::time::timeout(TIMEOUT, (self.resolve)(issuer.to_owned())).await;
        let outcome = match result {
            Ok(Ok(Some(found))) => self.tenant(issuer, found, since),
            Ok(Ok(None)) => Err(ErrorKind::UnknownIssuer.into()),
            Ok(Err(error)) => Err(error),
            Err(elapsed) => {
                let error = VerifyError::new(ErrorKind::Unavailable).with_source(elapsed);
                Err(error.with_context("the resolver took too long"))
            }
        };
        match &outcome {
            Ok(tenant) => {
                self.confirmed.insert(issuer);
                self.known.insert(issuer.to_owned(), tenant.clone());
            }
            Err(error) => self.store_error(issuer, error),
        }
        outcome.map(|tenant| tenant.verifier)
    }

    fn store_error(&self, issuer: &str, error: &VerifyError) {
        let unknown = error.kind() == ErrorKind::UnknownIssuer;
        if unknown {
            self.confirmed.remove(issuer);
            self.known.remove(issuer);
        }
        let lasts = if unknown { UNKNOWN_FOR } else { FAILED_FOR };
        let entry = CachedRefusal { error: error.clone(), since: self.now(), lasts };
        self.refusals.insert(issuer.to_owned(), entry);
    }

    /// Returns the existing tenant with its keys, or a new one from what the resolver found.
    fn tenant(&self, issuer: &str, found: Issuer, since: Moment) -> Result<Tenant, VerifyError> {
        let misconfigured = |context: &'static str| {
            VerifyError::new(ErrorKind::Misconfigured).with_context(context)
        };
        // An issuer with another name would vouch for tokens that the resolver was not called for.
        if found.name() != issuer {
            return Err(misconfigured("the resolver returned an issuer with another name"));
        }
        if let Some(tenant) = self.known.get(issuer).filter(|_| self.cached(issuer).is_some()) {
            return Ok(Tenant { since, ..tenant });
        }
        let trusted: TrustedIssuer = found.build(&self.defaults).map_err(|problems| {
            misconfigured("the resolver returned an invalid issuer").with_source(problems)
        })?;
        let verifier = verifier_of(std::slice::from_ref(&trusted), |route| route);
        let state = TenantState { trusted, dropped: Arc::clone(&self.dropped) };
        Ok(Tenant { verifier, state: Arc::new(state), since })
    }

    fn cached_refusal(&self, issuer: &str) -> Option<VerifyError> {
        let entry = self.refusals.get(issuer)?;
        (self.now().since(entry.since) < entry.lasts).then_some(entry.error)
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.defaults.clock)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, Flight>> {
        // The map is consistent at every point that could panic.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call of the resolver. Removes itself from the calls under way on drop, however it ends.
struct Call {
    shared: Arc<Shared>,
    issuer: String,
}

impl Drop for Call {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.store_error(&self.issuer, &resolver_died());
        }
        self.shared.flights().remove(&self.issuer);
    }
}

/// Returns the error for a resolver that panicked or whose runtime is gone.
fn resolver_died() -> VerifyError {
    VerifyError::new(ErrorKind::Misconfigured)
        .with_context("the resolver panicked or its runtime is gone")
}
