//! The state of a breaker that the verifications of clients open and close.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::breaker_canary::jittered;
use crate::{
    clock::{Clock, Moment},
    error::{failure::Failure, kind::ErrorKind, refusal::VerifyError},
    verify::{stats::BreakerState, verifier::Outcome},
};

/// The longest `Retry-After` that is honored. A longer one is shortened to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The `Retry-After` of a refusal while a probe is under way.
const PROBE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A breaker that the verifications of clients open and close.
pub(super) struct ClientCircuit {
    failures: u32,
    pause: Duration,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
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

impl ClientCircuit {
    pub(super) const fn new(
        failures: u32,
        pause: Duration,
        seed: u64,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let phase = Phase::Closed { failures: 0 };
        let state = Mutex::new(State { phase, generation: 0, seed });
        Self { failures, pause, clock, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoning is ignored: no panic can leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.lock().phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Probing => BreakerState::HalfOpen,
            Phase::Open { since, duration } if self.now().since(since) >= duration => {
                BreakerState::HalfOpen
            }
            Phase::Open { .. } => BreakerState::Open,
        }
    }

    /// Lets a verification pass, or refuses it with the time to wait. Returns the generation of the
    /// state.
    pub(super) fn acquire(&self) -> Result<u64, Duration> {
        let mut state = self.lock();
        let wait = match state.phase {
            Phase::Closed { .. } => None,
            Phase::Probing => Some(PROBE_RETRY_AFTER),
            Phase::Open { since, duration } => {
                let left = duration.saturating_sub(self.now().since(since));
                (!left.is_zero()).then_some(left)
            }
        };
        if let Some(wait) = wait {
            return Err(wait);
        }
        if let Phase::Open { .. } = state.phase {
            state.enter(Phase::Probing);
        }
        Ok(state.generation)
    }

    pub(super) fn record(&self, generation: u64, outcome: &Outcome) {
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
                if wait.is_none() && failures < self.failures {
                    state.phase = Phase::Closed { failures };
                    return;
                }
                let pause = jittered(self.pause, state.seed, state.generation);
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
    pub(super) fn abandon(&self, generation: u64) {
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
}
