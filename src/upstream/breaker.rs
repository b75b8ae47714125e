//! A circuit breaker that spares an authorization server which does not respond.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_layer::Layer;

use super::{
    breaker_canary::{Canary, CanaryCircuit, Pass},
    breaker_clients::ClientCircuit,
};
use crate::{
    clock::{Clock, SystemClock},
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::{
        request::VerifyRequest,
        stats::{BreakerState, Counter, Stats},
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// The default number of failures in a row that open the breaker.
const DEFAULT_FAILURES: u32 = 5;

/// The default time that the breaker stays open, varied by up to a fifth so that many processes do
/// not return at the same time.
const DEFAULT_PAUSE: Duration = Duration::from_secs(5);

/// A layer that stops calling a server that is unavailable.
///
/// After five failures in a row the breaker opens: for about five seconds, verifications are
/// refused at once with [`Unavailable`](ErrorKind::Unavailable) and the remaining time. Then one
/// verification is let through as a probe, and its outcome closes the breaker or opens it again. If
/// the server sends `Retry-After`, one failure is enough, and the breaker stays open for that time,
/// at most five minutes.
///
/// Only [`Unavailable`](ErrorKind::Unavailable) counts as a failure. Any other outcome, an inactive
/// token included, ends a row of failures. [`BadResponse`](ErrorKind::BadResponse) and
/// [`CredentialsRejected`](ErrorKind::CredentialsRejected) neither add to a row nor end it: one odd
/// token that makes the server fail must not close the server to all other tokens.
///
/// # Security
///
/// Without a [`canary`](Self::canary) the tokens of clients decide. A client whose tokens make the
/// server time out or fail can open the breaker, and so shut out all others. With one, a client
/// can't. A [`ResourceServer`](crate::ResourceServer) with a cryptography backend does not use this
/// layer for introspection: it sends canaries of its own.
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     upstream::CircuitBreakerLayer,
///     verify::{Verifier, VerifyRequest, verify_fn},
/// };
/// use tower_layer::Layer;
///
/// let down = verify_fn(async |_| Err(VerifyError::new(ErrorKind::Unavailable)));
/// let verifier = CircuitBreakerLayer::new().failures(1).layer(down);
/// # tokio_test::block_on(async {
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// let _ = verifier.verify(request.clone()).await;
/// let refused = verifier.verify(request).now_or_later().expect("at once").unwrap_err();
/// assert!(refused.retry_after().is_some());
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer {
    failures: u32,
    pause: Duration,
    seed: Option<u64>,
    clock: Arc<dyn Clock>,
    canary: Option<Canary>,
}

impl CircuitBreakerLayer {
    /// Creates a layer that opens after five failures in a row, for about five seconds.
    #[must_use]
    pub fn new() -> Self {
        Self {
            failures: DEFAULT_FAILURES,
            pause: DEFAULT_PAUSE,
            seed: None,
            clock: Arc::new(SystemClock),
            canary: None,
        }
    }

    /// Lets `canary` judge the server instead of the tokens of clients.
    ///
    /// A canary is a verification by this service, past the breaker, of a token that the server can
    /// answer at any time, such as one of this service or a random one. Each outcome counts as an
    /// answer but those listed below, so a token that the server calls inactive will do.
    ///
    /// When the verification of a client fails, a canary is sent: one at a time, and at most one a
    /// second. If it fails, the second follows a second later, and the others after the
    /// [`pause`](Self::pause), until one is answered.
    ///
    /// * The breaker opens when two canaries in a row have failed. It stays closed if, since the
    ///   first of them, a verification of a client began whose token is active.
    /// * While it is open, one verification of a client a second passes. The breaker closes when this
    ///   or a canary is answered.
    /// * Failures are [`Unavailable`](ErrorKind::Unavailable),
    ///   [`BadResponse`](ErrorKind::BadResponse),
    ///   [`CredentialsRejected`](ErrorKind::CredentialsRejected), and a canary that takes more than
    ///   10 s. An overload is neither a failure nor an answer, because other clients may cause it:
    ///   429, 503, or `Unavailable` with `Retry-After`.
    ///
    /// [`failures`](Self::failures) has no effect then. Canaries run in the Tokio runtime of the
    /// request that asks for them; without one none is sent, and the breaker does not open.
    ///
    /// ```
    /// use tower_introspect::{
    ///     ErrorKind,
    ///     credentials::Token,
    ///     upstream::CircuitBreakerLayer,
    ///     verify::{BreakerState, Verifier, VerifyRequest, verify_fn},
    /// };
    /// use tower_layer::Layer;
    ///
    /// // The server fails on one token only.
    /// let server = verify_fn(async |request: VerifyRequest| match request.token().secret_str() {
    ///     "poison" => Err(ErrorKind::Unavailable.into()),
    ///     _ => Err(ErrorKind::Inactive.into()),
    /// });
    /// let own = Token::bearer("token-of-this-service").unwrap();
    /// let breaker = CircuitBreakerLayer::new()
    ///     .canary(move || server.verify(VerifyRequest::new(own.clone())))
    ///     .layer(server);
    ///
    /// # tokio_test::block_on(async {
    /// for _ in 0..100 {
    ///     let request = VerifyRequest::new(Token::bearer("poison").unwrap());
    ///     assert!(breaker.verify(request).await.is_err());
    ///     tokio::task::yield_now().await;
    /// }
    /// assert!(breaker.stats().canaries > 0);
    /// assert_eq!(breaker.stats().breaker, BreakerState::Closed);
    /// # });
    /// ```
    #[must_use]
    pub fn canary<C, F>(mut self, canary: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.canary = Some(Canary::new(canary));
        self
    }

    /// Sets how many failures in a row open the breaker, if it has no [`canary`](Self::canary).
    #[must_use]
    pub const fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets how long the breaker stays open, or the time between two [canaries](Self::canary) that
    /// fail. The time varies by up to a fifth.
    #[must_use]
    pub const fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sets the seed of the random variation of the pause. By default the seed is random.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Layer<V> for CircuitBreakerLayer {
    type Service = CircuitBreaker<V>;

    fn layer(&self, inner: V) -> CircuitBreaker<V> {
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let judge = match self.canary.clone() {
            Some(canary) => {
                let clock = Arc::clone(&self.clock);
                Judge::Canaries(Arc::new(CanaryCircuit::new(canary, self.pause, seed, clock)))
            }
            None => {
                let clock = Arc::clone(&self.clock);
                Judge::Clients(Arc::new(ClientCircuit::new(self.failures, self.pause, seed, clock)))
            }
        };
        CircuitBreaker { inner, judge, counters: Arc::default() }
    }
}

/// The verifier of a [`CircuitBreakerLayer`]. Clones share the state of the breaker.
#[derive(Clone)]
pub struct CircuitBreaker<V> {
    inner: V,
    judge: Judge,
    counters: Arc<Counters>,
}

/// The verifications whose outcomes open and close the breaker.
#[derive(Clone)]
enum Judge {
    Clients(Arc<ClientCircuit>),
    Canaries(Arc<CanaryCircuit>),
}

#[derive(Default)]
struct Counters {
    passed: Counter,
    refused: Counter,
}

impl<V> CircuitBreaker<V> {
    /// Returns the state of the breaker, and how many verifications it passed and refused.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let canaries = match &self.judge {
            Judge::Clients(_) => 0,
            Judge::Canaries(circuit) => circuit.sent(),
        };
        Stats {
            upstream_calls: self.counters.passed.get(),
            canaries,
            broken: self.counters.refused.get(),
            breaker: self.judge.state(),
            ..Stats::default()
        }
    }

    /// Returns a reference to the inner verifier.
    pub const fn get_ref(&self) -> &V {
        &self.inner
    }
}

impl<V: Verifier> Verifier for CircuitBreaker<V> {
    type Future = BreakerFuture<V::Future>;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        let mut permit = match self.judge.acquire() {
            Ok(permit) => permit,
            Err(wait) => {
                self.counters.refused.add_one();
                return Verifying::done(Err(VerifyError::new(ErrorKind::Unavailable)
                    .with_context("the circuit breaker is open after failures of the server")
                    .with_retry_after(wait)));
            }
        };
        self.counters.passed.add_one();
        match self.inner.verify(request).now_or_later() {
            Ok(outcome) => {
                permit.end(&outcome);
                Verifying::done(outcome)
            }
            Err(future) => Verifying::pending(BreakerFuture { future, permit }),
        }
    }
}

impl<V> fmt::Debug for CircuitBreaker<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("state", &self.judge.state())
            .field("has_canary", &matches!(self.judge, Judge::Canaries(_)))
            .finish_non_exhaustive()
    }
}

impl Judge {
    fn state(&self) -> BreakerState {
        match self {
            Self::Clients(circuit) => circuit.state(),
            Self::Canaries(circuit) => circuit.state(),
        }
    }

    /// Lets a verification pass, or refuses it with the time to wait.
    fn acquire(&self) -> Result<Permit, Duration> {
        match self {
            Self::Clients(circuit) => circuit.acquire().map(|generation| Permit::OfClients {
                circuit: Arc::clone(circuit),
                generation: Some(generation),
            }),
            Self::Canaries(circuit) => circuit
                .acquire()
                .map(|pass| Permit::OfCanaries { circuit: Arc::clone(circuit), pass }),
        }
    }
}

/// The right to one verification.
enum Permit {
    OfClients {
        circuit: Arc<ClientCircuit>,
        /// `None` once the verification ended.
        generation: Option<u64>,
    },
    OfCanaries {
        circuit: Arc<CanaryCircuit>,
        pass: Pass,
    },
}

impl Permit {
    fn end(&mut self, outcome: &Outcome) {
        match self {
            Self::OfClients { circuit, generation } => {
                if let Some(generation) = generation.take() {
                    circuit.record(generation, outcome);
                }
            }
            Self::OfCanaries { circuit, pass } => circuit.record(*pass, outcome),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Self::OfClients { circuit, generation: Some(generation) } = self {
            circuit.abandon(*generation);
        }
    }
}

pin_project! {
    /// The future of [`CircuitBreaker`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the verification, which then counts neither as a failure nor as a success.
    /// If it was the probe, the next verification becomes the probe.
    pub struct BreakerFuture<F> {
        #[pin]
        future: F,
        permit: Permit,
    }
}

impl<F: Future<Output = Outcome>> Future for BreakerFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        let outcome = ready!(this.future.poll(cx));
        this.permit.end(&outcome);
        Poll::Ready(outcome)
    }
}

impl<F> fmt::Debug for BreakerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerFuture").finish_non_exhaustive()
    }
}
