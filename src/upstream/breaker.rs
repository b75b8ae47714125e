//! A circuit breaker that spares an authorization server which does not respond.

use std::{
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, RandomState},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_layer::Layer;

use crate::{
    clock::{Clock, Moment, SystemClock},
    error::{failure::Failure, kind::ErrorKind, refusal::VerifyError},
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

/// The longest `Retry-After` that is honored. A longer one is shortened to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The `Retry-After` of a refusal while a probe is under way.
const PROBE_RETRY_AFTER: Duration = Duration::from_secs(1);

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
/// The health of the server is judged by the tokens of clients. A client whose tokens make the
/// server time out or fail can open the breaker, and so shut out others. For introspection a
/// [`ResourceServer`](crate::ResourceServer) therefore judges by tokens of its own instead.
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
        }
    }

    /// Sets how many failures in a row open the breaker.
    #[must_use]
    pub const fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets how long the breaker stays open. The time varies by up to a fifth.
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
        let circuit = Circuit {
            settings: self.clone(),
            state: Mutex::new(State { phase: Phase::Closed { failures: 0 }, generation: 0, seed }),
            passed: Counter::default(),
            refused: Counter::default(),
        };
        CircuitBreaker { inner, circuit: Arc::new(circuit) }
    }
}

/// The verifier of a [`CircuitBreakerLayer`]. Clones share the state of the breaker.
#[derive(Clone)]
pub struct CircuitBreaker<V> {
    inner: V,
    circuit: Arc<Circuit>,
}

impl<V> CircuitBreaker<V> {
    /// Returns the state of the breaker, and how many verifications it passed and refused.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            upstream_calls: self.circuit.passed.get(),
            broken: self.circuit.refused.get(),
            breaker: self.circuit.state(),
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
        let mut permit = match Circuit::acquire(&self.circuit) {
            Ok(permit) => permit,
            Err(error) => return Verifying::done(Err(error)),
        };
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
            .field("state", &self.circuit.state())
            .finish_non_exhaustive()
    }
}

struct Circuit {
    settings: CircuitBreakerLayer,
    state: Mutex<State>,
    passed: Counter,
    refused: Counter,
}

struct State {
    phase: Phase,
    /// Incremented with each change of phase. The outcome of a verification that began in an
    /// earlier phase is ignored.
    generation: u64,
    seed: u64,
}

/// `failures` counts those in a row.
#[derive(Clone, Copy)]
enum Phase {
    Closed { failures: u32 },
    Open { since: Moment, duration: Duration },
    Probing,
}

impl Circuit {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoning is ignored: no panic can leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.settings.clock)
    }

    fn state(&self) -> BreakerState {
        match self.lock().phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Probing => BreakerState::HalfOpen,
            Phase::Open { since, duration } if self.now().since(since) >= duration => {
                BreakerState::HalfOpen
            }
            Phase::Open { .. } => BreakerState::Open,
        }
    }

    /// Lets a verification pass, or refuses it with the time to wait.
    fn acquire(this: &Arc<Self>) -> Result<Permit, VerifyError> {
        let mut state = this.lock();
        let wait = match state.phase {
            Phase::Closed { .. } => None,
            Phase::Probing => Some(PROBE_RETRY_AFTER),
            Phase::Open { since, duration } => {
                let left = duration.saturating_sub(this.now().since(since));
                (!left.is_zero()).then_some(left)
            }
        };
        if let Some(wait) = wait {
            drop(state);
            this.refused.add_one();
            return Err(VerifyError::new(ErrorKind::Unavailable)
                .with_context("the circuit breaker is open after failures of the server")
                .with_retry_after(wait));
        }
        if let Phase::Open { .. } = state.phase {
            state.enter(Phase::Probing);
        }
        this.passed.add_one();
        Ok(Permit { circuit: Arc::clone(this), generation: Some(state.generation) })
    }

    fn record(&self, generation: u64, outcome: &Outcome) {
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        let error = outcome.as_ref().err();
        let by_token = error.and_then(VerifyError::failure) == Some(Failure::Broken);
        match error.map(VerifyError::kind) {
            Some(ErrorKind::Unavailable) if !by_token => {
                let wait = error.and_then(VerifyError::retry_after).filter(|wait| !wait.is_zero());
                let failures = match state.phase {
                    Phase::Closed { failures } => failures.saturating_add(1),
                    _ => u32::MAX,
                };
                if wait.is_none() && failures < self.settings.failures {
                    state.phase = Phase::Closed { failures };
                    return;
                }
                let pause = state.jittered(self.settings.pause);
                let duration = wait.map_or(pause, |wait| wait.min(MAX_RETRY_AFTER));
                state.enter(Phase::Open { since: self.now(), duration });
            }
            // The server responds, and may have failed over one token only.
            Some(
                ErrorKind::BadResponse
                | ErrorKind::FailsOnToken
                | ErrorKind::CredentialsRejected
                | ErrorKind::Unavailable,
            ) if matches!(state.phase, Phase::Closed { .. }) => {}
            _ => match state.phase {
                Phase::Closed { .. } => state.phase = Phase::Closed { failures: 0 },
                // The server is available again.
                _ => state.enter(Phase::Closed { failures: 0 }),
            },
        }
    }

    /// Records that a verification ended without an outcome: the client went away, or the verifier
    /// panicked.
    fn abandon(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation && matches!(state.phase, Phase::Probing) {
            // The next verification becomes the probe.
            state.enter(Phase::Open { since: self.now(), duration: Duration::ZERO });
        }
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
    }

    /// Returns `pause`, varied by up to a fifth: differently in each generation, and for each seed.
    fn jittered(&self, pause: Duration) -> Duration {
        let bits =
            BuildHasherDefault::<DefaultHasher>::default().hash_one((self.seed, self.generation));
        let permille = u32::try_from(bits % 401).unwrap_or(200);
        pause.saturating_mul(800 + permille) / 1000
    }
}

/// The right to one verification.
struct Permit {
    circuit: Arc<Circuit>,
    /// `None` once the verification ended.
    generation: Option<u64>,
}

impl Permit {
    fn end(&mut self, outcome: &Outcome) {
        if let Some(generation) = self.generation.take() {
            self.circuit.record(generation, outcome);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(generation) = self.generation {
            self.circuit.abandon(generation);
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
