//! Applies effects, and a second time after the authorization server has revoked the tokens.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

use crate::{
    clock::{Clock, Moment},
    error::boxed::BoxError,
    revocation::{change::CutoffChange, cutoff::Cutoff, revocations::Revocations},
};

/// The time after a signal within which the authorization server revokes the tokens.
///
/// Some servers send the signal first, and wait up to five seconds for its receivers.
const SETTLES_IN: Duration = Duration::from_secs(5);

/// The maximum number of cutoffs that wait. Each has at most 16 KiB, and usually some 200 bytes.
const MAX_WAITING: usize = 10_000;

/// The maximum number of issuers that wait as a whole.
const MAX_ISSUERS: usize = 1_000;

/// Applies effects. Clones share the cutoffs that wait for a second time.
///
/// A fact that was established between the message and the revocation says that the token is active. It
/// would serve for as long as it may be cached.
#[derive(Clone)]
pub(crate) struct Settling(Arc<Shared>);

struct Shared {
    revocations: Revocations,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Instant, Cutoff)>,
    /// The issuers whose further cutoffs found no place.
    issuers: HashMap<String, Instant>,
    is_driven: bool,
}

impl Settling {
    pub(crate) fn new(revocations: Revocations, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { revocations, clock, state: Mutex::default() }))
    }

    /// Applies an effect now. Facts that it names are established anew once more in five seconds.
    pub(super) fn apply(&self, effect: &CutoffChange) {
        self.0.revocations.change(effect);
        let Ok(runtime) = Handle::try_current() else { return };
        let cutoff = effect.cutoff();
        let at = self.0.now() + SETTLES_IN;
        let mut state = self.0.state();
        if state.waiting.len() < MAX_WAITING {
            state.waiting.push_back((at, cutoff.clone()));
        } else if let Some(issuer) = state.issuers.get_mut(cutoff.issuer_name()) {
            *issuer = at;
        } else if state.issuers.len() < MAX_ISSUERS {
            state.issuers.insert(cutoff.issuer_name().to_owned(), at);
        }
        if !state.is_driven {
            state.is_driven = true;
            // A runtime that shuts down drops the task at once, which takes the lock.
            drop(state);
            let shared = Arc::downgrade(&self.0);
            runtime.spawn(drive(Driver { shared, is_dismissed: false }));
        }
    }

    /// Waits until the other instances of the service can learn of what was applied before.
    pub(super) async fn flush(&self) -> Result<(), BoxError> {
        self.0.revocations.flush().await
    }
}

impl Shared {
    fn now(&self) -> Instant {
        Moment::now(&*self.clock).monotonic()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the cutoffs whose time has come. Returns the time of the next one, or `None` if none waits.
    fn take_due(&self) -> (Vec<Cutoff>, Option<Instant>) {
        let (mut due, now) = (Vec::new(), self.now());
        let mut state = self.state();
        while state.waiting.front().is_some_and(|(at, _)| *at <= now) {
            due.extend(state.waiting.pop_front().map(|(_, cutoff)| cutoff));
        }
        let issuers = state.issuers.extract_if(|_, at| *at <= now);
        due.extend(issuers.map(|(issuer, _)| Cutoff::issuer(issuer)));
        let first = state.waiting.front().map(|(at, _)| *at);
        let next = first.into_iter().chain(state.issuers.values().copied()).min();
        // If none waits, the next effect starts another task.
        state.is_driven = next.is_some();
        (due, next)
    }
}

/// The task that applies cutoffs for the second time. If its runtime ends, the next effect starts another.
struct Driver {
    shared: Weak<Shared>,
    /// True if it ended by itself. Then there may be another task by now.
    is_dismissed: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.is_dismissed
            && let Some(shared) = self.shared.upgrade()
        {
            shared.state().is_driven = false;
        }
    }
}

/// Applies cutoffs for the second time until none waits, or the resource server is dropped.
async fn drive(mut driver: Driver) {
    loop {
        let Some(alive) = driver.shared.upgrade() else { return };
        let (due, next) = alive.take_due();
        driver.is_dismissed = next.is_none();
        for cutoff in &due {
            alive.revocations.outdate(cutoff);
        }
        drop(alive);
        match next {
            Some(at) => sleep_until(at).await,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::FixedClock;

    #[test]
    fn effect_is_applied_when_the_runtime_has_shut_down() {
        let revocations = Revocations::new();
        let settling = Settling::new(revocations.clone(), Arc::new(FixedClock(1_800_000_000)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        let _entered = handle.enter();
        settling.apply(&CutoffChange::Revoke(Cutoff::subject("https://as.example.com", "alice")));
        assert_eq!(revocations.len(), 1);
        assert!(!settling.0.state().is_driven, "another runtime may start the task");
    }
}
