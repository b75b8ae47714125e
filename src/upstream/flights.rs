//! The verifications under way that requests share, by the digest of their tokens.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::Shared};
use tokio::sync::oneshot;

use crate::{
    clock::{Clock, Moment},
    credentials::token::Fingerprint,
    error::{failure::Fault, kind::ErrorKind, refusal::VerifyError},
    verify::{
        boxed::BoxFuture,
        request::{Freshness, VerifyRequest},
        stats::Counter,
        verifier::Outcome,
        waiters::{Waiter, Waiters},
    },
};

/// The time after which a verification is given up. One that never ends must not keep its token
/// from being verified.
pub(super) const MAX_TIME: Duration = Duration::from_secs(30);

/// The number of shards of the table, so that tokens rarely contend for a lock.
const SHARDS: usize = 16;

/// A verification that several requests may wait for.
pub(super) type Flight = Shared<BoxFuture>;

/// A verification that will take place: its request, and where its outcome goes.
pub(super) struct Ticket {
    pub(super) request: VerifyRequest,
    pub(super) waiters: Waiters,
    outcome: oneshot::Sender<Outcome>,
}

impl Ticket {
    pub(super) fn new(request: &VerifyRequest) -> (Self, Flight, Waiter) {
        let waiters = Waiters::default();
        let waiter = waiters.first();
        let (sender, outcome) = oneshot::channel();
        let outcome = outcome.map(|outcome| {
            outcome.unwrap_or_else(|_| Err(not_verified("the runtime of the verification is gone")))
        });
        let request = request.clone().with_waiters(waiters.clone());
        let ticket = Self { request, waiters, outcome: sender };
        (ticket, BoxFuture::new(outcome).shared(), waiter)
    }

    pub(super) fn send(self, outcome: Outcome) {
        // All requests may have gone away.
        let _ = self.outcome.send(outcome);
    }
}

/// Returns the error of a verification that failed here. It says nothing about the server, so it
/// allows no stale facts.
pub(super) fn not_verified(context: &'static str) -> VerifyError {
    VerifyError::new(ErrorKind::Unavailable)
        .with_context(context)
        .with_fault(Fault::NotToken { allows_stale: false, charges_peer: false })
}

/// The verifications under way, by the digest of their tokens.
#[derive(Debug)]
pub(super) struct Flights {
    pub(super) clock: Arc<dyn Clock>,
    shards: [Mutex<HashMap<Fingerprint, Entry>>; SHARDS],
    pub(super) joined: Counter,
    ids: AtomicU64,
}

impl Flights {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let (shards, joined, ids) = Default::default();
        Self { clock, shards, joined, ids }
    }

    /// Returns the number of verifications under way that later requests could join.
    pub(super) fn under_way(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub(super) fn shard(&self, token: &Fingerprint) -> &Mutex<HashMap<Fingerprint, Entry>> {
        let [first, ..] = token.as_bytes();
        &self.shards[usize::from(*first) % SHARDS]
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

pub(super) fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoning is ignored: no panic can leave the table inconsistent.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A verification under way, and the one that starts when it ends.
pub(super) struct Entry {
    started: Moment,
    /// The number of the task.
    id: u64,
    flight: Flight,
    waiters: Waiters,
    next: Option<(Ticket, Flight)>,
}

impl Entry {
    pub(super) const fn new(started: Moment, id: u64, flight: Flight, waiters: Waiters) -> Self {
        Self { started, id, flight, waiters, next: None }
    }

    /// Returns true if the verification will have no outcome: the runtime of its task is there, but
    /// does not run.
    pub(super) fn is_lost(&self, now: Moment) -> bool {
        now.monotonic_since(self.started) > 2 * MAX_TIME
    }

    /// Joins the verification under way if it is recent enough for the request, or else the queued
    /// one, if there is one.
    pub(super) fn join(&self, request: &VerifyRequest, now: Moment) -> Option<(Flight, Waiter)> {
        let freshness = request.freshness();
        let is_recent = freshness != Freshness::Live
            && now.since(self.started) <= freshness.max_age(MAX_TIME)
            && request.accepts_start(self.started);
        if is_recent && let Some(waiter) = self.waiters.join() {
            return Some((self.flight.clone(), waiter));
        }
        let (ticket, flight) = self.next.as_ref()?;
        Some((flight.clone(), ticket.waiters.join()?))
    }

    /// Makes `request` the next one.
    pub(super) fn queue(&mut self, request: &VerifyRequest) -> (Flight, Waiter) {
        let (ticket, flight, waiter) = Ticket::new(request);
        self.next = Some((ticket, flight.clone()));
        (flight, waiter)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("started", &self.started).finish_non_exhaustive()
    }
}

/// The task's place in the table. Removes its entry on drop, for whatever reason the task ends.
pub(super) struct Landing {
    pub(super) flights: Arc<Flights>,
    pub(super) token: Fingerprint,
    pub(super) id: u64,
}

impl Landing {
    /// Ends the verification under way. Returns the next one, which is under way from now on.
    pub(super) fn next(&self) -> Option<Ticket> {
        let now = Moment::now(&*self.flights.clock);
        let mut shard = lock(self.flights.shard(&self.token));
        let entry = shard.get_mut(&self.token).filter(|entry| entry.id == self.id)?;
        let Some((mut ticket, flight)) = entry.next.take() else {
            shard.remove(&self.token);
            return None;
        };
        ticket.request.restart(now);
        *entry = Entry::new(now, self.id, flight, ticket.waiters.clone());
        Some(ticket)
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut shard = lock(self.flights.shard(&self.token));
        if shard.get(&self.token).is_some_and(|entry| entry.id == self.id) {
            shard.remove(&self.token);
        }
    }
}
