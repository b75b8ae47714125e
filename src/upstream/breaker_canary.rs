//! The state of a breaker whose server is judged by canaries, and the task that sends them.

use std::{
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    clock::{Clock, Moment},
    error::{
        failure::Failure,
        kind::{Blame, ErrorKind},
    },
    verify::{boxed::BoxFuture, stats::BreakerState, verifier::Outcome},
};

/// The shortest time between two canaries, which is that between the first failure and the second,
/// and the time between two trials while the breaker is open.
const BETWEEN: Duration = Duration::from_secs(1);

/// The time after which a canary without an outcome has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The time past its next step after which the task counts as lost: its runtime does not run.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// A verification of a token of this service.
#[derive(Clone)]
pub(super) struct Canary(Arc<dyn Fn() -> BoxFuture + Send + Sync>);

impl Canary {
    pub(super) fn new<C, F>(canary: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self(Arc::new(move || BoxFuture::new(canary())))
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canary")
    }
}

/// The evidence of an outcome about the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// The token is active.
    Active,
    /// The token is not, or is not acceptable.
    Refused,
    /// The server failed, or rejects this service.
    Failed,
    /// The server is overloaded, or this service failed or held the verification back.
    None,
}

impl Evidence {
    fn of(outcome: &Outcome) -> Self {
        let error = match outcome {
            Ok(_) => return Self::Active,
            Err(error) => error,
        };
        match (error.kind(), error.failure()) {
            // Other clients may cause the overload.
            (_, Some(Failure::Overloaded)) => Self::None,
            // Other verifiers don't tell overload by more than this.
            (ErrorKind::Unavailable, Some(Failure::Unreachable))
                if error.retry_after().is_some() =>
            {
                Self::None
            }
            (
                ErrorKind::Unavailable
                | ErrorKind::BadResponse
                | ErrorKind::FailsOnToken
                | ErrorKind::CredentialsRejected,
                _,
            ) => Self::Failed,
            (ErrorKind::TooManyRequests, _) => Self::None,
            (kind, _) if kind.blame() == Blame::Client => Self::Refused,
            _ => Self::None,
        }
    }
}

/// A breaker that canaries open and close.
pub(super) struct CanaryCircuit {
    canary: Canary,
    pause: Duration,
    seed: u64,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_open: bool,
    /// The number of times that the breaker opened.
    openings: u64,
    /// When the last verification passed while the breaker was open, or else when it opened.
    last_trial: Option<Moment>,
    /// The number of canaries sent.
    begun: u64,
    last_begun: Option<Moment>,
    /// The number of the first of the canaries in a row that failed.
    failing_since: Option<u64>,
    task: Option<Task>,
    /// The number of tasks started.
    tasks: u64,
}

#[derive(Clone, Copy)]
struct Task {
    number: u64,
    /// The time of its last step, and the time from then to its next.
    stepped_at: Moment,
    pause: Duration,
    /// True while a canary is under way.
    is_sending: bool,
}

/// The right to one verification: the state at the time at which it began.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    openings: u64,
    canaries: u64,
}

impl CanaryCircuit {
    pub(super) fn new(canary: Canary, pause: Duration, seed: u64, clock: Arc<dyn Clock>) -> Self {
        Self { canary, pause, seed, clock, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoning is ignored: no panic can leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    pub(super) fn state(&self) -> BreakerState {
        if self.lock().is_open { BreakerState::Open } else { BreakerState::Closed }
    }

    /// Returns the number of canaries sent.
    pub(super) fn sent(&self) -> u64 {
        self.lock().begun
    }

    /// Lets a verification pass, or refuses it with the time to wait.
    pub(super) fn acquire(self: &Arc<Self>) -> Result<Pass, Duration> {
        let now = self.now();
        let mut state = self.lock();
        let pass = Pass { openings: state.openings, canaries: state.begun };
        if !state.is_open {
            return Ok(pass);
        }
        let is_due = state.last_trial.is_none_or(|last| now.monotonic_since(last) >= BETWEEN);
        if is_due {
            state.last_trial = Some(now);
        }
        let wait = state.task.map_or(BETWEEN, |task| task.wait(now));
        drop(state);
        // The runtime of the last task may have ended.
        self.start_task();
        if is_due { Ok(pass) } else { Err(wait.max(BETWEEN)) }
    }

    /// Takes the outcome of a verification. It never opens the breaker.
    pub(super) fn record(self: &Arc<Self>, pass: Pass, outcome: &Outcome) {
        let evidence = Evidence::of(outcome);
        match evidence {
            Evidence::Failed => return self.start_task(),
            Evidence::None => return,
            Evidence::Active | Evidence::Refused => {}
        }
        let mut state = self.lock();
        if state.is_open {
            // Only a verification that began after the opening proves that the server is there again.
            if pass.openings == state.openings {
                state.close();
                // The next failure starts another, without the rest of this one's pause.
                state.task.take_if(|task| !task.is_sending);
            }
        } else if evidence == Evidence::Active
            && state.failing_since.is_some_and(|first| pass.canaries >= first)
        {
            // The server serves clients while canaries fail, so canaries err.
            state.failing_since = None;
        }
    }

    /// Starts the task that sends canaries, unless it runs or there is no runtime.
    fn start_task(self: &Arc<Self>) {
        let now = self.now();
        let mut state = self.lock();
        if state.task.is_some_and(|task| !task.is_lost(now)) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        state.tasks += 1;
        let number = state.tasks;
        state.task = Some(Task::at(number, now, Duration::ZERO));
        drop(state);
        // A runtime that shuts down drops the task at once, which takes the lock.
        let task = Canaries { circuit: Arc::downgrade(self), number };
        runtime.spawn(task.send());
    }

    /// Returns `pause`, varied by up to a fifth, so that many processes do not ask at the same time.
    fn jittered(&self, number: u64) -> Duration {
        jittered(self.pause, self.seed, number)
    }
}

/// Returns `pause`, varied by up to a fifth: differently for each number and for each seed.
pub(super) fn jittered(pause: Duration, seed: u64, number: u64) -> Duration {
    let bits = BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, number));
    let permille = u32::try_from(bits % 401).unwrap_or(200);
    pause.saturating_mul(800 + permille) / 1000
}

impl State {
    fn open(&mut self, now: Moment) {
        if !self.is_open {
            self.is_open = true;
            self.openings += 1;
            self.last_trial = Some(now);
        }
    }

    fn close(&mut self) {
        self.is_open = false;
        self.failing_since = None;
    }
}

impl Task {
    const fn at(number: u64, stepped_at: Moment, pause: Duration) -> Self {
        Self { number, stepped_at, pause, is_sending: false }
    }

    fn is_lost(self, now: Moment) -> bool {
        now.monotonic_since(self.stepped_at) > self.pause.saturating_add(LOST_AFTER)
    }

    /// Returns the time until its next step.
    fn wait(self, now: Moment) -> Duration {
        self.pause.saturating_sub(now.monotonic_since(self.stepped_at))
    }
}

/// The task that sends canaries, one after the other, until one succeeds. It does not keep the
/// breaker.
struct Canaries {
    circuit: Weak<CanaryCircuit>,
    number: u64,
}

impl Drop for Canaries {
    fn drop(&mut self) {
        let Some(circuit) = self.circuit.upgrade() else { return };
        let mut state = circuit.lock();
        if state.task.is_some_and(|task| task.number == self.number) {
            state.task = None;
        }
    }
}

impl Canaries {
    async fn send(self) {
        let mut pause = Duration::ZERO;
        loop {
            let Some(wait) = self.wait(pause) else { return };
            // A timer would take a millisecond at least.
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let Some((canary, number)) = self.begin() else { return };
            let outcome = tokio::time::timeout(TIMEOUT, canary).await;
            let evidence = outcome.as_ref().map_or(Evidence::Failed, Evidence::of);
            let Some(next) = self.take(number, evidence) else { return };
            pause = next;
        }
    }

    /// Runs `step`, unless the breaker was dropped or another task has taken this one's place.
    fn step<T>(
        &self,
        step: impl FnOnce(&CanaryCircuit, &mut State, Moment) -> Option<T>,
    ) -> Option<T> {
        let circuit = self.circuit.upgrade()?;
        let now = circuit.now();
        let mut state = circuit.lock();
        state.task.filter(|task| task.number == self.number)?;
        step(&circuit, &mut state, now)
    }

    /// Returns the time until the next canary may be sent, `pause` or more.
    fn wait(&self, pause: Duration) -> Option<Duration> {
        self.step(|_, state, now| {
            let since = state.last_begun.map(|last| now.monotonic_since(last));
            let rest = since.map_or(Duration::ZERO, |since| BETWEEN.saturating_sub(since));
            let pause = pause.max(rest);
            state.task = Some(Task::at(self.number, now, pause));
            Some(pause)
        })
    }

    /// Begins a canary, and returns it and its number.
    fn begin(&self) -> Option<(BoxFuture, u64)> {
        let (canary, number) = self.step(|circuit, state, now| {
            let task = Task::at(self.number, now, TIMEOUT);
            state.task = Some(Task { is_sending: true, ..task });
            state.begun += 1;
            state.last_begun = Some(now);
            Some((circuit.canary.clone(), state.begun))
        })?;
        // Without the lock, since it is code of the user.
        Some(((canary.0)(), number))
    }

    /// Takes the outcome of a canary. Returns the pause before the next one, if there has to be one.
    fn take(&self, canary: u64, evidence: Evidence) -> Option<Duration> {
        self.step(|circuit, state, now| {
            let pause = match (evidence, state.failing_since) {
                (Evidence::Active | Evidence::Refused, _) => {
                    state.close();
                    None
                }
                (Evidence::Failed, None) => {
                    state.failing_since = Some(canary);
                    Some(BETWEEN)
                }
                (Evidence::Failed, Some(_)) => {
                    state.open(now);
                    Some(circuit.jittered(canary))
                }
                (Evidence::None, Some(_)) => Some(circuit.jittered(canary)),
                (Evidence::None, None) => None,
            };
            if pause.is_none() {
                // Before the lock is given back: a failure right after it starts another task.
                state.task = None;
            }
            pause
        })
    }
}
