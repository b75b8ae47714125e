//! Verifies signals, applies each once, and keeps those whose keys can't be had just now.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{runtime::Handle, time::sleep};

use super::{
    applied::Applied,
    backoff::Backoff,
    liveness::Liveness,
    pending::{MAX_WAIT, MAX_WAIT_OF_STRANGERS, Pending, Placed, Waiting},
    settling::Settling,
    statement::Statement,
};
use crate::{
    clock::{Clock, Moment},
    error::refusal::VerifyError,
    jwt::keys::Mismatch,
    refresh::asker::{Asker, RecentAskers},
    telemetry::signals::{Outcome, Receiver, signal, signal_lost, signal_refused, signal_verified},
};

/// The longest pause before the keys of pending statements are tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The intake of one receiver, through which all of its signals pass.
pub(super) struct Intake {
    receiver: Receiver,
    settling: Settling,
    clock: Arc<dyn Clock>,
    liveness: Liveness,
    state: Mutex<IntakeState>,
}

#[derive(Default)]
struct IntakeState {
    applied: Applied,
    pending: Pending,
    /// The peers that delivered a verified signal.
    proven: RecentAskers<()>,
    /// True if a task tries pending statements again.
    is_driven: bool,
}

/// When a statement was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    Now,
    /// With an earlier delivery.
    Before,
}

/// The reason why a statement has no effect.
#[derive(Debug)]
pub(super) enum NotApplied {
    /// None of the keys of its issuer verifies it.
    Refused(Mismatch),
    /// The keys can't be had just now. The statement is kept, if there is a place.
    NoKeys(VerifyError),
    /// It is in force here, and the other instances of the service can't be told just now.
    NotShared,
}

impl Intake {
    pub(super) fn new(
        receiver: Receiver,
        settling: Settling,
        liveness: Liveness,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { receiver, settling, clock, liveness, state: Mutex::default() }
    }

    pub(super) const fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// Returns the number of statements that wait for keys.
    pub(super) fn pending(&self) -> usize {
        self.state().pending.len()
    }

    /// Verifies a statement, and applies it unless it was applied before. Then waits until the other
    /// instances of the service can learn of it.
    ///
    /// # Cancellation
    ///
    /// A statement that is not verified yet is kept, as one whose keys can't be had: a sender may give
    /// up earlier than a fetch of keys, and never send it again. One that is applied is told to the
    /// other instances all the same.
    pub(super) async fn accept(
        self: &Arc<Self>,
        statement: &Statement,
        asker: Asker,
    ) -> Result<Accepted, NotApplied> {
        self.drive();
        // A sender that repeats a message may have withdrawn its key since.
        if self.state().applied.contains(statement.signed()) {
            signal(self.receiver, Outcome::Repeated);
            self.share().await?;
            return Ok(Accepted::Before);
        }
        let mut kept = KeptOnDrop { intake: self, statement, asker, is_verified: false };
        let verified = statement.verify(asker).await;
        kept.is_verified = verified.is_ok();
        match verified {
            Ok(Ok(())) => {
                self.apply(statement, asker);
                self.share().await?;
                Ok(Accepted::Now)
            }
            Ok(Err(mismatch)) => Err(NotApplied::Refused(mismatch)),
            Err(error) => Err(NotApplied::NoKeys(error)),
        }
    }

    /// Applies a verified statement, unless it was applied before.
    fn apply(&self, statement: &Statement, asker: Asker) {
        let is_new = !self.state().applied.contains(statement.signed());
        let outcome = if is_new { (statement.apply)() } else { Outcome::Repeated };
        // Only now: whoever finds it here is told that it is in force.
        let mut state = self.state();
        state.proven.note(asker, ());
        state.pending.remove(statement);
        state.applied.insert(statement.signed());
        drop(state);
        signal_verified(self.receiver, outcome, statement.keys.issuer());
    }

    async fn share(&self) -> Result<(), NotApplied> {
        self.settling.flush().await.map_err(|_| NotApplied::NotShared)
    }

    /// Keeps a statement until its keys are there. What was polled comes again with the next poll.
    fn keep(self: &Arc<Self>, statement: &Statement, asker: Asker) {
        if asker == Asker::Own {
            return;
        }
        let (placed, is_proven) = {
            let mut state = self.state();
            let is_proven = state.proven.get(asker).is_some();
            (state.pending.push(statement, asker, is_proven), is_proven)
        };
        match placed {
            Placed::Added => signal(self.receiver, Outcome::Kept),
            Placed::Known => {}
            // Strangers can name keys that do not exist.
            Placed::Full if !is_proven && statement.has_keys() => {
                signal_refused(
                    self.receiver,
                    "its key is not known, and there is no place to keep it",
                );
            }
            Placed::Full => {
                self.lose(statement, "there is no place to keep it until keys are there")
            }
        }
        self.drive();
    }

    /// Starts a task that tries pending statements again, unless there is one or none is needed.
    fn drive(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        {
            let mut state = self.state();
            if state.is_driven || state.pending.is_empty() {
                return;
            }
            state.is_driven = true;
        }
        let intake = Arc::downgrade(self);
        runtime.spawn(drive_pending(Driver { intake, is_dismissed: false }));
    }

    /// Reports that a statement that nobody verified is dropped.
    fn lose(&self, statement: &Statement, why: &'static str) {
        signal_lost(self.receiver, statement.keys.issuer(), why);
        self.liveness.lost(statement.keys.issuer());
    }

    /// Tries a pending statement again.
    async fn retry(&self, waiting: &Waiting) {
        let Waiting { statement, asker, is_proven } = waiting;
        let age = || Moment::now(&*self.clock).monotonic_since(statement.arrived);
        match statement.verify(*asker).await {
            Ok(Ok(())) => self.apply(statement, *asker),
            Ok(Err(_)) => {
                self.state().pending.remove(statement);
                signal(self.receiver, Outcome::Refused);
            }
            Err(_) if !is_proven && age() >= MAX_WAIT_OF_STRANGERS && statement.has_keys() => {
                self.state().pending.remove(statement);
                signal_refused(self.receiver, "its key has not become known");
            }
            Err(_) if age() >= MAX_WAIT => {
                self.state().pending.remove(statement);
                self.lose(statement, "its keys could not be had for a day");
            }
            Err(_) => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, IntakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a statement when it is dropped, unless the statement was verified or refused.
struct KeptOnDrop<'a> {
    intake: &'a Arc<Intake>,
    statement: &'a Statement,
    asker: Asker,
    is_verified: bool,
}

impl Drop for KeptOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_verified {
            self.intake.keep(self.statement, self.asker);
        }
    }
}

/// The task that tries pending statements again. If its runtime ends, the next one starts another.
struct Driver {
    intake: Weak<Intake>,
    /// True if it ended by itself. Then there may be another task by now.
    is_dismissed: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.is_dismissed
            && let Some(intake) = self.intake.upgrade()
        {
            intake.state().is_driven = false;
        }
    }
}

/// Tries pending statements again until none is left, or the receiver is dropped.
async fn drive_pending(mut driver: Driver) {
    let mut backoff = Backoff::up_to(LONGEST_PAUSE);
    loop {
        sleep(backoff.next(None)).await;
        let Some(intake) = driver.intake.upgrade() else { return };
        let all = intake.state().pending.all();
        join_all(all.iter().map(|waiting| intake.retry(waiting))).await;
        let mut state = intake.state();
        if state.pending.len() < all.len() {
            // Some keys are there.
            backoff.reset();
        }
        if state.pending.is_empty() {
            state.is_driven = false;
            driver.is_dismissed = true;
            return;
        }
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("pending", &self.pending()).finish_non_exhaustive()
    }
}
