//! Shares one verification among concurrent requests with the same token.

use std::{
    collections::HashMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{Shared, WeakShared},
};
use tower_layer::Layer;

use crate::{
    clock::{Clock, Moment, SystemClock},
    credentials::token::Fingerprint,
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::{
        active::ActiveToken,
        boxed::BoxFuture,
        request::{Freshness, VerifyRequest},
        stats::{Counter, Stats},
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// The age at which a verification is no longer joined, whatever the freshness. A verification that
/// never ends must not keep its token from being verified.
const MAX_JOIN_AGE: Duration = Duration::from_secs(30);

/// The number of shards of the table, so that tokens rarely contend for a lock.
const SHARDS: usize = 16;

/// A layer that lets concurrent requests with the same token share one verification.
///
/// The waiting requests drive the verification. Its error goes to all waiting requests, as the same
/// error, and is not kept afterwards. If the verification panics, they get
/// [`Unavailable`](ErrorKind::Unavailable).
///
/// A request joins a verification only if that started recently enough for the [`Freshness`] of the
/// request. A [`Live`](Freshness::Live) request never joins.
///
/// # Cancellation
///
/// Dropping the future of one request does not affect the others. The verification ends when the
/// futures of all of them are dropped.
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     upstream::CoalesceLayer,
///     verify::{Verifier, VerifyRequest, verify_fn},
/// };
/// use tower_layer::Layer;
///
/// let verifier = CoalesceLayer::new().layer(verify_fn(async |_| {
///     tokio::task::yield_now().await;
///     Err(VerifyError::new(ErrorKind::Inactive))
/// }));
/// # tokio_test::block_on(async {
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// let both = futures_util::future::join(
///     verifier.verify(request.clone()),
///     verifier.verify(request),
/// );
/// assert!(both.await.0.is_err());
/// assert_eq!(verifier.stats().coalesced, 1);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct CoalesceLayer {
    clock: Arc<dyn Clock>,
}

impl CoalesceLayer {
    /// Creates the layer.
    #[must_use]
    pub fn new() -> Self {
        Self { clock: Arc::new(SystemClock) }
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl Default for CoalesceLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Layer<V> for CoalesceLayer {
    type Service = Coalesce<V>;

    fn layer(&self, inner: V) -> Coalesce<V> {
        let clock = Arc::clone(&self.clock);
        let flights = Flights { clock, shards: Default::default(), joined: Counter::default() };
        Coalesce { inner: Arc::new(inner), flights: Arc::new(flights) }
    }
}

/// The verifier of a [`CoalesceLayer`]. Clones share the verifications that are under way.
pub struct Coalesce<V> {
    inner: Arc<V>,
    flights: Arc<Flights>,
}

impl<V> Coalesce<V> {
    /// Returns how many requests shared the verification of another.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { coalesced: self.flights.joined.get(), ..Stats::default() }
    }

    /// Returns how many verifications are under way that later requests could join.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.flights.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Returns a reference to the inner verifier.
    #[must_use]
    pub fn get_ref(&self) -> &V {
        &self.inner
    }
}

impl<V> Clone for Coalesce<V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), flights: Arc::clone(&self.flights) }
    }
}

impl<V> fmt::Debug for Coalesce<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce").field("under_way", &self.under_way()).finish_non_exhaustive()
    }
}

impl<V> Verifier for Coalesce<V>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    type Future = BoxFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        let arrived = Moment::now(&*self.flights.clock);
        let freshness = request.freshness();
        match self.join_or_start(&request, arrived) {
            Joining::Decided(outcome) => Verifying::done(outcome),
            Joining::Started(flight) => Verifying::pending(BoxFuture::new(flight)),
            Joining::Joined(flight) => {
                let this = self.clone();
                Verifying::pending(BoxFuture::new(async move {
                    let outcome = flight.await;
                    // The inner verifier may have a cache, and the request that started this
                    // verification may accept older facts.
                    let is_acceptable = |active: &ActiveToken| {
                        let start = active.verified_at();
                        arrived.since(start) <= freshness.max_age(Duration::MAX)
                            && request.accepts_start(start)
                    };
                    match &outcome {
                        Ok(active) if !is_acceptable(active) => this.inner.verify(request).await,
                        _ => outcome,
                    }
                }))
            }
        }
    }
}

/// A verification that several requests may wait for.
type Flight = Shared<BoxFuture>;

enum Joining {
    /// The inner verifier had the outcome at once.
    Decided(Outcome),
    Joined(Flight),
    Started(Flight),
}

impl<V> Coalesce<V>
where
    V: Verifier,
    V::Future: Send + 'static,
{
    fn join_or_start(&self, request: &VerifyRequest, now: Moment) -> Joining {
        let token = request.fingerprint();
        // The lock is held while the inner verifier is called, so that no other request starts a
        // verification of this token. The call is quick; only the future takes time.
        let mut shard = lock(self.flights.shard(&token));
        if let Some(flight) = shard.get(&token).and_then(|entry| entry.joinable(request, now)) {
            self.flights.joined.add_one();
            return Joining::Joined(flight);
        }
        let future = match self.inner.verify(request.clone()).now_or_later() {
            Ok(outcome) => return Joining::Decided(outcome),
            Err(future) => future,
        };
        let id = Arc::new(());
        let guard =
            RemoveOnDrop { flights: Arc::downgrade(&self.flights), token, id: Arc::clone(&id) };
        let flight = BoxFuture::new(run(future, guard)).shared();
        if let Some(weak) = flight.downgrade() {
            // Replaces an earlier flight, which the requests that joined it keep.
            shard.insert(token, Entry { started: now, id, flight: weak });
        }
        Joining::Started(flight)
    }
}

async fn run(future: impl Future<Output = Outcome>, guard: RemoveOnDrop) -> Outcome {
    // Unwind safe: the future is dropped, so the state that a panic leaves behind is never used.
    let outcome = AssertUnwindSafe(future).catch_unwind().await;
    drop(guard);
    outcome.unwrap_or_else(|_| {
        Err(VerifyError::new(ErrorKind::Unavailable).with_context("the verification panicked"))
    })
}

/// The verifications under way, by the digest of their tokens.
#[derive(Debug)]
struct Flights {
    clock: Arc<dyn Clock>,
    shards: [Mutex<HashMap<Fingerprint, Entry>>; SHARDS],
    joined: Counter,
}

impl Flights {
    fn shard(&self, token: &Fingerprint) -> &Mutex<HashMap<Fingerprint, Entry>> {
        let [first, ..] = token.as_bytes();
        &self.shards[usize::from(*first) % SHARDS]
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoning is ignored: no panic can leave the table inconsistent.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A verification under way.
struct Entry {
    started: Moment,
    id: Arc<()>,
    flight: WeakShared<BoxFuture>,
}

impl Entry {
    /// Returns the flight if a request that arrives now may join it.
    fn joinable(&self, request: &VerifyRequest, now: Moment) -> Option<Flight> {
        let freshness = request.freshness();
        let recent = freshness != Freshness::Live
            && now.since(self.started) <= freshness.max_age(MAX_JOIN_AGE);
        (recent && request.accepts_start(self.started)).then(|| self.flight.upgrade())?
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("started", &self.started).finish_non_exhaustive()
    }
}

/// A guard that removes the flight from the table when the verification ends for any reason.
struct RemoveOnDrop {
    flights: Weak<Flights>,
    token: Fingerprint,
    id: Arc<()>,
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let Some(flights) = self.flights.upgrade() else { return };
        let mut shard = lock(flights.shard(&self.token));
        if shard.get(&self.token).is_some_and(|entry| Arc::ptr_eq(&entry.id, &self.id)) {
            shard.remove(&self.token);
        }
    }
}
