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
const OLDEST_JOINED: Duration = Duration::from_secs(30);

/// The number of shards of the table, so that tokens rarely contend for a lock.
const PARTS: usize = 16;

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
        let home = Home { clock: Arc::clone(&self.clock), ..Home::default() };
        Coalesce { inner: Arc::new(inner), home: Arc::new(home) }
    }
}

/// The verifier of a [`CoalesceLayer`]. Clones share the verifications that are under way.
pub struct Coalesce<V> {
    inner: Arc<V>,
    home: Arc<Home>,
}

impl<V> Coalesce<V> {
    /// Returns how many requests shared the verification of another.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { coalesced: self.home.joined.get(), ..Stats::default() }
    }

    /// Returns how many verifications are under way that later requests could join.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.home.parts.iter().map(|part| lock(part).len()).sum()
    }

    /// Returns a reference to the inner verifier.
    #[must_use]
    pub fn get_ref(&self) -> &V {
        &self.inner
    }
}

impl<V> Clone for Coalesce<V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), home: Arc::clone(&self.home) }
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
        let token = request.fingerprint();
        let arrived = Moment::now(&*self.home.clock);
        let freshness = request.freshness();
        match self.board(token, &request, arrived) {
            Boarded::Landed(outcome) => Verifying::done(outcome),
            Boarded::Leads(flight) => Verifying::pending(BoxFuture::new(flight)),
            Boarded::Joined(flight) => {
                let this = self.clone();
                Verifying::pending(BoxFuture::new(async move {
                    let outcome = flight.await;
                    // The inner verifier may have a cache, and the request that started this
                    // verification may accept older facts.
                    let will_do = |active: &ActiveToken| {
                        let start = active.verified_at();
                        arrived.since(start) <= freshness.max_age(Duration::MAX)
                            && request.takes_from(start)
                    };
                    match &outcome {
                        Ok(active) if !will_do(active) => this.inner.verify(request).await,
                        _ => outcome,
                    }
                }))
            }
        }
    }
}

/// A verification that several requests may wait for.
type Flight = Shared<BoxFuture>;

enum Boarded {
    Landed(Outcome),
    Leads(Flight),
    Joined(Flight),
}

impl<V> Coalesce<V>
where
    V: Verifier,
    V::Future: Send + 'static,
{
    fn board(&self, token: Fingerprint, request: &VerifyRequest, arrived: Moment) -> Boarded {
        // The lock is held while the inner verifier is called, so that no other request starts a
        // verification of this token. The call is quick; only the future takes time.
        let mut part = lock(self.home.part(&token));
        if let Some(flight) = part.get(&token).and_then(|entry| entry.joinable(request, arrived)) {
            self.home.joined.add_one();
            return Boarded::Joined(flight);
        }
        let future = match self.inner.verify(request.clone()).now_or_later() {
            Ok(outcome) => return Boarded::Landed(outcome),
            Err(future) => future,
        };
        let mark = Arc::new(());
        let landing = Landing { home: Arc::downgrade(&self.home), token, mark: Arc::clone(&mark) };
        let flight = BoxFuture::new(fly(future, landing)).shared();
        if let Some(weak) = flight.downgrade() {
            // Replaces an earlier flight, which the requests that joined it keep.
            part.insert(token, Entry { started: arrived, mark, flight: weak });
        }
        Boarded::Leads(flight)
    }
}

async fn fly(future: impl Future<Output = Outcome>, landing: Landing) -> Outcome {
    // Unwind safe: the future is dropped, so the state that a panic leaves behind is never used.
    let outcome = AssertUnwindSafe(future).catch_unwind().await;
    drop(landing);
    outcome.unwrap_or_else(|_| {
        Err(VerifyError::new(ErrorKind::Unavailable).with_context("the verification panicked"))
    })
}

#[derive(Debug)]
struct Home {
    clock: Arc<dyn Clock>,
    parts: [Mutex<HashMap<Fingerprint, Entry>>; PARTS],
    joined: Counter,
}

impl Default for Home {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), parts: Default::default(), joined: Counter::default() }
    }
}

impl Home {
    fn part(&self, token: &Fingerprint) -> &Mutex<HashMap<Fingerprint, Entry>> {
        let [first, ..] = token.as_bytes();
        &self.parts[usize::from(*first) % PARTS]
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoning is ignored: no panic can leave the table inconsistent.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A verification under way.
struct Entry {
    started: Moment,
    mark: Arc<()>,
    flight: WeakShared<BoxFuture>,
}

impl Entry {
    /// Returns the flight if a request that arrives now may join it.
    fn joinable(&self, request: &VerifyRequest, now: Moment) -> Option<Flight> {
        let wanted = request.freshness();
        let recent =
            wanted != Freshness::Live && now.since(self.started) <= wanted.max_age(OLDEST_JOINED);
        (recent && request.takes_from(self.started)).then(|| self.flight.upgrade())?
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("started", &self.started).finish_non_exhaustive()
    }
}

/// A guard that removes the flight from the table when the verification ends for any reason.
struct Landing {
    home: Weak<Home>,
    token: Fingerprint,
    mark: Arc<()>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let mut part = lock(home.part(&self.token));
        if part.get(&self.token).is_some_and(|entry| Arc::ptr_eq(&entry.mark, &self.mark)) {
            part.remove(&self.token);
        }
    }
}
