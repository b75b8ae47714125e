//! Shares one verification among concurrent requests with the same token.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tower_layer::Layer;

use super::flights::{Entry, Flight, Flights, Landing, MAX_TIME, Ticket, lock, not_verified};
use crate::{
    clock::{Clock, Moment, SystemClock},
    verify::{
        active::ActiveToken,
        boxed::BoxFuture,
        request::VerifyRequest,
        stats::Stats,
        verifier::{Outcome, Verifier, Verifying},
        waiters::{Waiter, Waiters},
    },
};

/// A layer that lets concurrent requests with the same token share one verification.
///
/// The verification runs as a task of the Tokio runtime. Its outcome is written to the cache of a
/// [`CacheLayer`](crate::cache::CacheLayer) around this layer before the waiting requests get it, so
/// a request that arrives at that moment finds it there. An error goes to all waiting requests, as
/// the same error. If the verification panics or takes more than 30 s, they get
/// [`Unavailable`](crate::ErrorKind::Unavailable).
///
/// A request joins a verification only if that started recently enough for the
/// [`Freshness`](crate::verify::Freshness) of the request. All requests that can't join it, such as
/// a [`Live`](crate::verify::Freshness::Live) one, share a second verification, which starts when
/// the first ends. So one token never causes more than two at a time.
///
/// Outside of a Tokio runtime each request runs a verification of its own.
///
/// # Cancellation
///
/// Dropping the future of one request does not affect the others. A verification that all requests
/// have left sends no further request, and ends by itself.
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
        let flights = Arc::new(Flights::new(Arc::clone(&self.clock)));
        Coalesce { inner: Arc::new(inner), flights }
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
        self.flights.under_way()
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
        let (flight, waiter) = match self.join_or_start(&request, arrived) {
            Joining::Decided(outcome) => return Verifying::done(outcome),
            Joining::Alone(future) => return Verifying::pending(BoxFuture::new(future)),
            Joining::Started(flight, waiter) => {
                return Verifying::pending(BoxFuture::new(async move {
                    let _waiter = waiter;
                    flight.await
                }));
            }
            Joining::Joined(flight, waiter) => (flight, waiter),
        };
        let (this, freshness) = (self.clone(), request.freshness());
        Verifying::pending(BoxFuture::new(async move {
            let _waiter = waiter;
            let outcome = flight.await;
            // The inner verifier may have a cache, and the request that started this verification
            // may accept older facts.
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

enum Joining<F> {
    /// The inner verifier had the outcome at once.
    Decided(Outcome),
    /// There is no runtime for a task.
    Alone(F),
    Joined(Flight, Waiter),
    Started(Flight, Waiter),
}

impl<V> Coalesce<V>
where
    V: Verifier + Send + Sync + 'static,
    V::Future: Send + 'static,
{
    fn join_or_start(&self, request: &VerifyRequest, now: Moment) -> Joining<V::Future> {
        let token = request.fingerprint();
        // The lock is held while the inner verifier is called, so that no other request starts a
        // verification of this token. The call is quick; only the future takes time.
        let mut shard = lock(self.flights.shard(&token));
        if let Some(entry) = shard.get_mut(&token).filter(|entry| !entry.is_lost(now)) {
            let (flight, waiter) = match entry.join(request, now) {
                Some(joined) => {
                    self.flights.joined.add_one();
                    joined
                }
                None => entry.queue(request),
            };
            return Joining::Joined(flight, waiter);
        }
        let (ticket, flight, waiter) = Ticket::new(request);
        let future = match self.inner.verify(ticket.request.clone()).now_or_later() {
            Ok(outcome) => return Joining::Decided(outcome),
            Err(future) => future,
        };
        let Ok(runtime) = Handle::try_current() else { return Joining::Alone(future) };
        let id = self.flights.next_id();
        let entry = Entry::new(now, id, flight.clone(), ticket.waiters.clone());
        shard.insert(token, entry);
        drop(shard);
        let landing = Landing { flights: Arc::clone(&self.flights), token, id };
        // A runtime that shuts down drops the task at once, and with it `landing`.
        runtime.spawn(fly(Arc::clone(&self.inner), ticket, future, landing));
        Joining::Started(flight, waiter)
    }
}

/// Runs a verification, and then those that had to wait for it to end.
async fn fly<V>(inner: Arc<V>, mut ticket: Ticket, first: V::Future, landing: Landing)
where
    V: Verifier,
{
    let mut verifying = Verifying::pending(first);
    loop {
        let outcome = run(verifying, &ticket.waiters).await;
        if let Some(keeper) = ticket.request.keeper() {
            keeper.keep(ticket.request.token(), &outcome);
        }
        // Stored first, so that a request that can no longer join finds the outcome in the cache.
        let next = landing.next();
        ticket.send(outcome);
        let Some(following) = next else { return };
        ticket = following;
        verifying = inner.verify(ticket.request.clone());
    }
}

async fn run(verifying: impl Future<Output = Outcome>, waiters: &Waiters) -> Outcome {
    let unavailable = |context| Err(not_verified(context));
    if waiters.give_up_if_unused() {
        return unavailable("no request waits for the verification");
    }
    // Unwind safe: the future is dropped, so the state that a panic leaves behind is never used.
    let verifying = AssertUnwindSafe(verifying).catch_unwind();
    match tokio::time::timeout(MAX_TIME, verifying).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => unavailable("the verification panicked"),
        Err(_) => unavailable("the verification took too long"),
    }
}
