//! A budget per peer for verifications of bad tokens.

use std::{
    collections::HashMap,
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_layer::Layer;

use crate::{
    clock::{Moment, SystemClock},
    error::{
        kind::{Blame, ErrorKind},
        refusal::VerifyError,
    },
    verify::{
        peer::{PeerKey, SharedCharge},
        request::VerifyRequest,
        stats::{Counter, Stats},
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// The default number of peers that are told apart. Each takes some 50 bytes.
const DEFAULT_PEERS: usize = 10_000;

/// A layer that limits how many verifications of bad tokens each peer may cause.
///
/// An attacker who sends made-up tokens causes one introspection request for each, because none of
/// them is cached. With this layer each peer may cause `burst` such verifications at once, and one
/// more every `refill`. Requests beyond that are refused with
/// [`TooManyRequests`](ErrorKind::TooManyRequests) and cost the authorization server nothing. A
/// verification is charged when it starts. The charge is given back if the token is good, or if the
/// failure has nothing to do with the token. It is not given back if the client goes away, or if
/// the server's response about this token can't be understood.
///
/// The request names its peer ([`VerifyRequest::with_peer`]; in the middleware
/// [`IntrospectLayer::peer_fn`](crate::IntrospectLayer::peer_fn)). Requests that name no peer are
/// not limited.
///
/// Place it inside of a [`CacheLayer`](crate::cache::CacheLayer) and a
/// [`CoalesceLayer`](super::CoalesceLayer), so that cached and shared outcomes are free, and
/// outside of a [`BulkheadLayer`](super::BulkheadLayer). Clones of the layer, and all verifiers
/// made by them, share the budgets. The number of peers is bounded: beyond 10 000, the peers that
/// were not seen for the longest time start with a full budget again.
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     upstream::MissBudgetLayer,
///     verify::{PeerKey, Verifier, VerifyRequest, verify_fn},
/// };
/// use tower_layer::Layer;
///
/// let remote = verify_fn(async |_| Err(VerifyError::new(ErrorKind::Inactive)));
/// let verifier = MissBudgetLayer::new(1, Duration::from_secs(1)).layer(remote);
/// let ask = |peer: &str, token: &str| {
///     let request = VerifyRequest::new(Token::bearer(token).unwrap()).with_peer(PeerKey::new(peer));
///     verifier.verify(request)
/// };
/// # tokio_test::block_on(async {
/// assert_eq!(ask("mallory", "guess-1").await.unwrap_err().kind(), ErrorKind::Inactive);
/// assert_eq!(ask("mallory", "guess-2").await.unwrap_err().kind(), ErrorKind::TooManyRequests);
/// assert_eq!(ask("alice", "typo").await.unwrap_err().kind(), ErrorKind::Inactive);
/// # });
/// ```
#[derive(Clone)]
pub struct MissBudgetLayer(Arc<Budget>);

struct Budget {
    burst: u32,
    refill: Duration,
    peers: usize,
    start: Moment,
    table: Mutex<Table>,
}

impl MissBudgetLayer {
    /// Creates a layer that allows each peer `burst` verifications of bad tokens at once, and one
    /// more every `refill`.
    #[must_use]
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self::build(burst, refill, DEFAULT_PEERS)
    }

    /// Sets how many peers are told apart. Resets all budgets.
    #[must_use]
    pub fn peers(self, peers: usize) -> Self {
        let Budget { burst, refill, .. } = *self.0;
        Self::build(burst, refill, peers)
    }

    fn build(burst: u32, refill: Duration, peers: usize) -> Self {
        let start = Moment::now(&SystemClock);
        Self(Arc::new(Budget { burst, refill, peers, start, table: Mutex::default() }))
    }
}

impl<V> Layer<V> for MissBudgetLayer {
    type Service = MissBudget<V>;

    fn layer(&self, inner: V) -> MissBudget<V> {
        MissBudget { inner, budget: Arc::clone(&self.0), refused: Arc::default() }
    }
}

impl fmt::Debug for MissBudgetLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MissBudgetLayer")
            .field("burst", &self.0.burst)
            .field("refill", &self.0.refill)
            .finish_non_exhaustive()
    }
}

/// The verifier of a [`MissBudgetLayer`].
#[derive(Clone)]
pub struct MissBudget<V> {
    inner: V,
    budget: Arc<Budget>,
    refused: Arc<Counter>,
}

impl<V> MissBudget<V> {
    /// Returns how many verifications were refused.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { over_budget: self.refused.get(), ..Stats::default() }
    }

    /// Returns a reference to the inner verifier.
    pub const fn get_ref(&self) -> &V {
        &self.inner
    }
}

impl<V: Verifier> Verifier for MissBudget<V> {
    type Future = BudgetFuture<V::Future>;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        let charge = match Charge::make(&self.budget, &request) {
            Ok(charge) => charge,
            Err(wait) => {
                self.refused.add_one();
                return Verifying::done(Err(
                    VerifyError::new(ErrorKind::TooManyRequests).with_retry_after(wait)
                ));
            }
        };
        match self.inner.verify(request).now_or_later() {
            Ok(outcome) => {
                charge.settle(&outcome);
                Verifying::done(outcome)
            }
            Err(future) => Verifying::pending(BudgetFuture { future, charge }),
        }
    }
}

impl<V> fmt::Debug for MissBudget<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MissBudget").field("refused", &self.refused).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`MissBudget`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the verification, but the charge stays. Otherwise a client could avoid all
    /// charges by going away early.
    pub struct BudgetFuture<F> {
        #[pin]
        future: F,
        charge: Charge,
    }
}

impl<F: Future<Output = Outcome>> Future for BudgetFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        let outcome = ready!(this.future.poll(cx));
        this.charge.settle(&outcome);
        Poll::Ready(outcome)
    }
}

impl<F> fmt::Debug for BudgetFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetFuture").finish_non_exhaustive()
    }
}

/// A charge against the budget of a peer. It stands unless it is settled.
struct Charge {
    budget: Arc<Budget>,
    /// `None` if the request names no peer.
    peer: Option<PeerKey>,
    /// True if an earlier verification of the same token was charged.
    charged_before: bool,
    shared: Option<SharedCharge>,
}

impl Charge {
    fn make(budget: &Arc<Budget>, request: &VerifyRequest) -> Result<Self, Duration> {
        let shared = request.shared_charge().cloned();
        let charged_before = shared.as_ref().is_some_and(SharedCharge::is_made);
        if let Some(peer) = request.peer().filter(|_| !charged_before) {
            budget.charge(peer)?;
            if let Some(shared) = &shared {
                shared.set_made(true);
            }
        }
        Ok(Self { budget: Arc::clone(budget), peer: request.peer(), charged_before, shared })
    }

    /// Gives the charge back if the token is good, or if no failure so far is the token's fault,
    /// neither this one nor that of a verifier called before.
    fn settle(&self, outcome: &Outcome) {
        let Some(peer) = self.peer else { return };
        let stands = match outcome {
            Ok(_) => false,
            // A client can repeat a token that makes the server fail as often as it likes.
            Err(error) => {
                self.charged_before
                    || error.blame() == Blame::Client
                    || error.is_token_suspected()
                    || error.kind() == ErrorKind::BadResponse
            }
        };
        if !stands {
            self.budget.give_back(peer);
            if let Some(shared) = &self.shared {
                shared.set_made(false);
            }
        }
    }
}

impl Budget {
    /// Takes one from the budget of a peer, or returns the time until one is available.
    fn charge(&self, peer: PeerKey) -> Result<(), Duration> {
        let Some(rest) = self.burst.checked_sub(1) else { return Err(self.refill) };
        // Only the monotonic clock counts, so any wall clock will do.
        let now = Moment::now(&SystemClock).monotonic_since(self.start);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let full = table.touch(peer, self.peers).max(now);
        let wait = full.saturating_sub(now).saturating_sub(self.refill.saturating_mul(rest));
        if !wait.is_zero() {
            return Err(wait);
        }
        table.set(peer, full.saturating_add(self.refill));
        Ok(())
    }

    fn give_back(&self, peer: PeerKey) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let full = table.touch(peer, self.peers);
        table.set(peer, full.saturating_sub(self.refill));
    }
}

/// The time at which the budget of each peer is full again, counted from the start (the theoretical
/// arrival time of GCRA).
///
/// Holds peers seen recently. A peer that is missing has a full budget.
#[derive(Default)]
struct Table {
    recent: HashMap<PeerKey, Duration>,
    older: HashMap<PeerKey, Duration>,
}

impl Table {
    /// Returns the time at which the budget of `peer` is full, and marks the peer as seen.
    fn touch(&mut self, peer: PeerKey, peers: usize) -> Duration {
        if let Some(full) = self.recent.get(&peer) {
            return *full;
        }
        let full = self.older.remove(&peer).unwrap_or_default();
        if self.recent.len() >= (peers / 2).max(1) {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(peer, full);
        full
    }

    fn set(&mut self, peer: PeerKey, full: Duration) {
        self.recent.insert(peer, full);
    }
}
