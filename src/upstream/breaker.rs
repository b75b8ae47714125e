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

/// The longest `Retry-After` that is honored. A longer one is shortened to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The `Retry-After` of a refusal while a probe is under way.
const PROBING: Duration = Duration::from_secs(1);

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
            state: Mutex::new(State { phase: Phase::Closed { row: 0 }, round: 0, seed }),
            passed: Counter::default(),
            broken: Counter::default(),
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
            broken: self.circuit.broken.get(),
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
        let mut passage = match Circuit::pass(&self.circuit) {
            Ok(passage) => passage,
            Err(error) => return Verifying::done(Err(error)),
        };
        match self.inner.verify(request).now_or_later() {
            Ok(outcome) => {
                passage.end(&outcome);
                Verifying::done(outcome)
            }
            Err(future) => Verifying::pending(BreakerFuture { future, passage }),
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
    broken: Counter,
}

struct State {
    phase: Phase,
    /// Incremented with each change of phase. The outcome of a verification that began in an
    /// earlier phase is ignored.
    round: u64,
    seed: u64,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed { row: u32 },
    Open { since: Moment, lasts: Duration },
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
            Phase::Open { since, lasts } if self.now().since(since) >= lasts => {
                BreakerState::HalfOpen
            }
            Phase::Open { .. } => BreakerState::Open,
        }
    }

    /// Lets a verification pass, or refuses it with the time to wait.
    fn pass(this: &Arc<Self>) -> Result<Passage, VerifyError> {
        let mut state = this.lock();
        let wait = match state.phase {
            Phase::Closed { .. } => None,
            Phase::Probing => Some(PROBING),
            Phase::Open { since, lasts } => {
                let left = lasts.saturating_sub(this.now().since(since));
                (!left.is_zero()).then_some(left)
            }
        };
        if let Some(wait) = wait {
            drop(state);
            this.broken.add_one();
            return Err(VerifyError::new(ErrorKind::Unavailable)
                .with_context("the authorization server is left alone after failures")
                .with_retry_after(wait));
        }
        if let Phase::Open { .. } = state.phase {
            state.enter(Phase::Probing);
        }
        this.passed.add_one();
        Ok(Passage { circuit: Arc::clone(this), round: Some(state.round) })
    }

    fn record(&self, round: u64, outcome: &Outcome) {
        let mut state = self.lock();
        if state.round != round {
            return;
        }
        let error = outcome.as_ref().err();
        let by_token = error.is_some_and(VerifyError::may_be_by_token);
        match error.map(VerifyError::kind) {
            Some(ErrorKind::Unavailable) if !by_token => {
                let wish = error.and_then(VerifyError::retry_after).filter(|wish| !wish.is_zero());
                let row = match state.phase {
                    Phase::Closed { row } => row.saturating_add(1),
                    _ => u32::MAX,
                };
                if wish.is_none() && row < self.settings.failures {
                    state.phase = Phase::Closed { row };
                    return;
                }
                let pause = state.vary(self.settings.pause);
                let lasts = wish.map_or(pause, |wish| wish.min(LONGEST_RETRY_AFTER));
                state.enter(Phase::Open { since: self.now(), lasts });
            }
            // The server responds, and may have failed over one token only.
            Some(
                ErrorKind::BadResponse | ErrorKind::CredentialsRejected | ErrorKind::Unavailable,
            ) if matches!(state.phase, Phase::Closed { .. }) => {}
            _ => match state.phase {
                Phase::Closed { .. } => state.phase = Phase::Closed { row: 0 },
                // The server is available again.
                _ => state.enter(Phase::Closed { row: 0 }),
            },
        }
    }

    /// Records that a verification ended without an outcome: the client went away, or the verifier
    /// panicked.
    fn abandon(&self, round: u64) {
        let mut state = self.lock();
        if state.round == round && matches!(state.phase, Phase::Probing) {
            // The next verification becomes the probe.
            state.enter(Phase::Open { since: self.now(), lasts: Duration::ZERO });
        }
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.round = self.round.wrapping_add(1);
    }

    /// Returns `pause`, varied by up to a fifth: differently in each round, and for each seed.
    fn vary(&self, pause: Duration) -> Duration {
        let bits = BuildHasherDefault::<DefaultHasher>::default().hash_one((self.seed, self.round));
        let permille = u32::try_from(bits % 401).unwrap_or(200);
        pause.saturating_mul(800 + permille) / 1000
    }
}

/// The right to one verification.
struct Passage {
    circuit: Arc<Circuit>,
    /// `None` once the verification ended.
    round: Option<u64>,
}

impl Passage {
    fn end(&mut self, outcome: &Outcome) {
        if let Some(round) = self.round.take() {
            self.circuit.record(round, outcome);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(round) = self.round {
            self.circuit.abandon(round);
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
        passage: Passage,
    }
}

impl<F: Future<Output = Outcome>> Future for BreakerFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        let outcome = ready!(this.future.poll(cx));
        this.passage.end(&outcome);
        Poll::Ready(outcome)
    }
}

impl<F> fmt::Debug for BreakerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerFuture").finish_non_exhaustive()
    }
}
