//! A budget per peer for verifications of bad tokens.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_layer::Layer;

use super::budget_table::{Rate, Table, Taken, nanos};
use crate::{
    clock::{Moment, SystemClock},
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::{
        peer::{PeerKey, Refund, SharedCharge},
        request::VerifyRequest,
        stats::{Counter, Stats},
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// The default number of peers and networks that are told apart. Each takes some 50 bytes.
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
/// made by them, share the budgets.
///
/// # Networks and peers that come and go
///
/// A peer who has many addresses does not get as many budgets:
///
/// | budget | times the burst, and as many times the rate |
/// |---|---|
/// | one peer: a name, an IPv4 address, a /64 of IPv6 | 1 |
/// | all peers of a /56 | 4 |
/// | all peers of a /48 | 16 |
/// | all peers that find no place in the table | 64 |
///
/// A request with an IPv6 address ([`PeerKey::address`]) is charged to its /64, its /56 and its
/// /48, and is refused if one of them is used up.
///
/// The table has 10 000 places. An IPv6 address takes up to three. A budget that is not full keeps
/// its place, so a peer can't get a new budget by having the old one forgotten. A peer with a good
/// token keeps its place for ten minutes; half of the places are for such peers. If all other places
/// are taken, new peers share one budget. Peers that have a place do not notice.
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
    rate: Rate,
    start: Moment,
    table: Mutex<Table>,
}

impl MissBudgetLayer {
    /// Creates a layer that allows each peer `burst` verifications of bad tokens at once, and one
    /// more every `refill`.
    #[must_use]
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self::build(Rate { burst, refill }, DEFAULT_PEERS)
    }

    /// Sets how many peers and networks are told apart. Resets all budgets.
    #[must_use]
    pub fn peers(self, peers: usize) -> Self {
        Self::build(self.0.rate, peers)
    }

    fn build(rate: Rate, peers: usize) -> Self {
        let start = Moment::now(&SystemClock);
        Self(Arc::new(Budget { rate, start, table: Mutex::new(Table::new(rate, peers)) }))
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
            .field("burst", &self.0.rate.burst)
            .field("refill", &self.0.rate.refill)
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
    made: Made,
}

/// Where the charge for a verification is.
enum Made {
    /// Nothing is charged.
    Nothing,
    /// This verification is charged.
    Here(Receipt),
    /// This verification is charged, for those of the same token that follow it too.
    Shared(SharedCharge),
    /// An earlier verification of the same token was charged.
    Before(SharedCharge),
}

/// A charge, and the budgets that it was made against.
struct Receipt {
    budget: Arc<Budget>,
    taken: Taken,
}

impl Refund for Receipt {
    fn give_back(self: Box<Self>) {
        self.budget.give_back(&self.taken);
    }
}

impl Charge {
    fn make(budget: &Arc<Budget>, request: &VerifyRequest) -> Result<Self, Duration> {
        let (budget, peer) = (Arc::clone(budget), request.peer());
        let Some(payer) = peer else { return Ok(Self { budget, peer, made: Made::Nothing }) };
        let shared = request.shared_charge().cloned();
        if let Some(shared) = shared.clone().filter(SharedCharge::is_made) {
            return Ok(Self { budget, peer, made: Made::Before(shared) });
        }
        let taken = budget.charge(payer)?;
        let receipt = Receipt { budget: Arc::clone(&budget), taken };
        let made = match shared {
            Some(shared) => {
                shared.set(Box::new(receipt));
                Made::Shared(shared)
            }
            None => Made::Here(receipt),
        };
        Ok(Self { budget, peer, made })
    }

    /// Gives the charge back if the token is good, or if no failure so far is the token's fault,
    /// neither this one nor that of a verifier called before.
    fn settle(&self, outcome: &Outcome) {
        let stands = match outcome {
            Ok(_) => false,
            // A client can repeat a token that makes the server fail as often as it likes.
            Err(error) => matches!(self.made, Made::Before(_)) || error.charges_peer(),
        };
        if stands {
            return;
        }
        match &self.made {
            Made::Nothing => {}
            Made::Here(receipt) => receipt.budget.give_back(&receipt.taken),
            Made::Shared(shared) | Made::Before(shared) => shared.give_back(),
        }
        if let (Ok(_), Some(peer)) = (outcome, self.peer) {
            self.budget.keep(peer);
        }
    }
}

impl Budget {
    /// Takes one from the budgets of a peer, or returns the time until one is available.
    fn charge(&self, peer: PeerKey) -> Result<Taken, Duration> {
        if self.rate.burst == 0 {
            return Err(self.rate.refill);
        }
        self.table().charge(peer, self.now()).map_err(Duration::from_nanos)
    }

    fn give_back(&self, taken: &Taken) {
        self.table().give_back(taken, self.now());
    }

    /// Keeps the place of a peer whose token is good.
    fn keep(&self, peer: PeerKey) {
        self.table().keep(peer, self.now());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time since the start. Only the monotonic clock counts, so any wall clock will
    /// do.
    fn now(&self) -> u64 {
        nanos(Moment::now(&SystemClock).monotonic_since(self.start))
    }
}
