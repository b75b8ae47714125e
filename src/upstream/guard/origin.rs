//! The servers that introspections are sent to, and the task that sends canaries to one.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify};

use super::{
    health::Health,
    introspection::{IntrospectionResult, RegistrationId},
    judge::{LOST_AFTER, NextCanary},
    recent::{Id, KnownTokensLimit, Time},
    registration::RegistrationSettings,
};
use crate::{
    checks::record::unrecorded,
    clock::{Moment, SystemClock},
    error::refusal::VerifyError,
    telemetry::{events, server_state::ServerState},
    verify::boxed::BoxFuture,
};

/// The default number of introspections that may be under way at one origin.
///
/// A server that takes 20 ms for a response then still serves some three thousand a second.
pub(crate) const DEFAULT_PERMITS: usize = 64;

/// The origins of one resource server. Clones share them.
#[derive(Clone)]
pub(crate) struct Origins {
    permits: usize,
    by_name: Arc<Mutex<HashMap<String, Weak<Origin>>>>,
    known_tokens: Arc<KnownTokensLimit>,
}

impl Origins {
    /// Creates origins with `permits` introspections under way at each, and `known_tokens` known
    /// tokens at all of them together.
    pub(crate) fn new(permits: usize, known_tokens: usize) -> Self {
        let known_tokens = Arc::new(KnownTokensLimit::new(known_tokens));
        Self { permits, by_name: Arc::default(), known_tokens }
    }

    pub(super) fn known_tokens(&self) -> Arc<KnownTokensLimit> {
        Arc::clone(&self.known_tokens)
    }

    /// Returns the origin of this name, which is a scheme, host and port.
    pub(super) fn get(&self, name: &str) -> Arc<Origin> {
        // The map is consistent at every point that could panic.
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(origin) = by_name.get(name).and_then(Weak::upgrade) {
            return origin;
        }
        by_name.retain(|_, origin| origin.strong_count() > 0);
        let origin = Arc::new(Origin::new(self.permits));
        by_name.insert(name.to_owned(), Arc::downgrade(&origin));
        origin
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins").field("permits", &self.permits).finish_non_exhaustive()
    }
}

/// One server, for all issuers under the same scheme, host and port.
pub(super) struct Origin {
    state: Mutex<State>,
    start: Moment,
    /// Wakes the task that sends canaries.
    wake: Arc<Notify>,
}

struct State {
    health: Health,
    senders: HashMap<RegistrationId, Arc<CanarySender>>,
    /// The task that sends canaries, if there is one: its number, and when it last took a step.
    task: Option<(u64, Time)>,
    tasks: u64,
}

type SendCanary = dyn Fn() -> (bool, BoxFuture) + Send + Sync;

/// Sends the canaries of one registration.
pub(super) struct CanarySender {
    pub(super) issuer: Arc<str>,
    /// Returns true if the token is one of this service's own, and the introspection.
    pub(super) send: Box<SendCanary>,
}

impl Origin {
    fn new(permits: usize) -> Self {
        let health = Health::new(permits, RandomState::new().hash_one(0));
        let state = State { health, senders: HashMap::new(), task: None, tasks: 0 };
        Self {
            state: Mutex::new(state),
            // Only the monotonic clock counts, so any wall clock will do.
            start: Moment::now(&SystemClock),
            wake: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoning is ignored: no panic can leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Moment::now(&SystemClock).monotonic_since(self.start)
    }

    /// Applies a change to the health, then starts or wakes the task that sends canaries if any are
    /// wanted.
    pub(super) fn update<T>(self: &Arc<Self>, change: impl FnOnce(&mut Health, Time) -> T) -> T {
        let now = self.now();
        let mut state = self.lock();
        let result = change(&mut state.health, now);
        if state.health.turns.is_empty() {
            return result;
        }
        let is_changed = state.health.turns.take_change();
        // The runtime of the task may be there, but not run.
        let is_lost = |(_, stepped_at)| now.saturating_sub(stepped_at) > LOST_AFTER;
        if state.task.is_some_and(|task| !is_lost(task)) {
            // The canary under way may have ended, too, but then one of them is wanted again.
            if is_changed {
                self.wake.notify_one();
            }
        } else if let Ok(runtime) = Handle::try_current() {
            state.tasks += 1;
            let number = state.tasks;
            state.task = Some((number, now));
            drop(state);
            // A runtime that shuts down drops the task at once, which takes the lock.
            runtime.spawn(send_canaries(CanaryTask { origin: Arc::downgrade(self), number }));
        }
        result
    }

    pub(super) fn add(
        &self,
        settings: RegistrationSettings,
        sender: CanarySender,
    ) -> RegistrationId {
        let mut state = self.lock();
        let id = state.health.add_registration(settings);
        state.senders.insert(id, Arc::new(sender));
        id
    }

    pub(super) fn remove(&self, id: RegistrationId) {
        let mut state = self.lock();
        state.health.remove_registration(id);
        let sender = state.senders.remove(&id);
        // It holds the connections to the server, which may take a while to close.
        drop(state);
        drop(sender);
    }

    pub(super) fn is_open(&self, id: RegistrationId) -> bool {
        self.lock().health.is_open(id)
    }

    pub(super) fn server_state(&self, id: RegistrationId) -> ServerState {
        let state = self.lock();
        let found = state.health.registrations.get(&id).map(|own| own.canary.found);
        found.unwrap_or_default()
    }

    pub(super) fn canaries_sent(&self, id: RegistrationId) -> u64 {
        let state = self.lock();
        state.health.registrations.get(&id).map_or(0, |registration| registration.canary.sent)
    }
}

/// The task that sends canaries. It holds no reference to the origin while it sleeps.
struct CanaryTask {
    origin: Weak<Origin>,
    number: u64,
}

impl Drop for CanaryTask {
    fn drop(&mut self) {
        let Some(origin) = self.origin.upgrade() else { return };
        let mut state = origin.lock();
        if state.task.is_some_and(|(number, _)| number == self.number) {
            state.task = None;
        }
    }
}

/// The next step of the task.
enum Step {
    Send(RegistrationId, Time, Option<Arc<CanarySender>>),
    /// Wait for this time, or until a canary is wanted that may be sent earlier.
    Wait(Duration, Arc<Notify>),
    End,
}

impl CanaryTask {
    fn next(&self) -> Step {
        let Some(origin) = self.origin.upgrade() else { return Step::End };
        let now = origin.now();
        let mut state = origin.lock();
        if state.task.is_none_or(|(number, _)| number != self.number) {
            // Another task has taken its place.
            return Step::End;
        }
        state.task = Some((self.number, now));
        match state.health.next_canary(now) {
            NextCanary::Send(id) => Step::Send(id, now, state.senders.get(&id).cloned()),
            NextCanary::At(time) => Step::Wait(time.saturating_sub(now), Arc::clone(&origin.wake)),
            NextCanary::None => {
                state.task = None;
                Step::End
            }
        }
    }
}

async fn send_canaries(task: CanaryTask) {
    loop {
        match task.next() {
            Step::Send(id, sent_at, sender) => {
                let origin = task.origin.clone();
                let result = IntrospectionResult::FailedHere;
                let under_way =
                    UnderWay { origin, id, sent_at, is_own: false, result, error: None };
                tokio::spawn(send_canary(under_way, sender));
            }
            Step::Wait(time, wake) => {
                let _ = tokio::time::timeout(time, wake.notified()).await;
            }
            Step::End => return,
        }
    }
}

/// A canary under way. If it is dropped before its result, it counts as not sent.
struct UnderWay {
    origin: Weak<Origin>,
    id: RegistrationId,
    sent_at: Time,
    is_own: bool,
    result: IntrospectionResult,
    /// The reason why the server did not answer, for the log.
    error: Option<VerifyError>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Some(origin) = self.origin.upgrade() else { return };
        let Self { id, sent_at, is_own, result, .. } = *self;
        let change =
            origin.update(|health, now| health.take_canary(id, sent_at, is_own, result, now));
        let Some(change) = change else { return };
        let sender = origin.lock().senders.get(&self.id).cloned();
        if let Some(sender) = sender {
            let error = self.error.as_ref();
            events::server_state_changed(&sender.issuer, change.before, change.after, error);
        }
    }
}

async fn send_canary(mut under_way: UnderWay, sender: Option<Arc<CanarySender>>) {
    let Some(sender) = sender else { return };
    let (is_own, sending) = (sender.send)();
    under_way.is_own = is_own;
    let outcome = unrecorded(sending).await;
    // The subject of a canary is not used.
    under_way.result = IntrospectionResult::of(&outcome, Id::of(0));
    under_way.error = outcome.err();
}
