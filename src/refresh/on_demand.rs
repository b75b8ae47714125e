//! Fetches a value anew for requests that the current one does not serve.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    asker::Asker,
    flight::{Ended, LOST_AFTER, no_runtime},
    refresher::{Fetches, Refresher, SharedRefresher},
    source::Source,
    turns::Place,
};
use crate::{clock::Moment, error::refusal::VerifyError};

/// The longest time for which a request waits for a fetch to begin, and, if there is a value, to
/// end.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The time for which a request also waits for a fetch that begins at the end of that time.
const GRACE: Duration = Duration::from_millis(100);

/// The shortest wait that a client is told, if the time of the next fetch is not known.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);

/// A request that the current value does not serve.
pub(crate) struct Demand<T> {
    pub(crate) asker: Asker,
    /// A hash that requests with the same needs share.
    pub(crate) lookup: Option<u64>,
    /// The time of the request.
    pub(crate) asked: Moment,
    /// The value that does not serve it, if there is one.
    pub(crate) seen: Option<Arc<T>>,
}

/// The reason why a request gets no newer value.
pub(crate) enum NotServed {
    /// The fetch failed.
    Failed(VerifyError),
    /// No fetch ended in time. The next one begins after this time.
    Late(Duration),
}

/// A value that may serve a request that the one before did not.
pub(crate) struct Newer<T> {
    pub(crate) value: Arc<T>,
    /// The time when its fetch started.
    pub(crate) began: Moment,
}

impl<S: Source> Refresher<S> {
    /// Waits for a newer value than the one that `demand` has seen. Starts a fetch, now or in turn.
    ///
    /// Returns `None` if there is a newer value already.
    pub(crate) fn demand(&self, demand: Demand<S::Value>) -> Result<Option<Waiting<S>>, NotServed> {
        let shared = &self.0;
        let Some(renewal) = &shared.renewal else { return Err(NotServed::Late(SHORTEST_RETRY)) };
        let runtime = Handle::try_current().map_err(|error| NotServed::Failed(no_runtime(error)));
        runtime.map(drop)?;
        let Demand { asker, lookup, asked, seen } = demand;
        let now = shared.now();
        let loads = !shared.has_value(now);
        let (ended, this) = (shared.ended.subscribe(), shared.in_turn());
        // Taken first: a fetch that ends from now on lines up again for the requests that wait.
        let place = renewal.turns.take_place(&this, asker, lookup, !loads);
        // A value is replaced under this lock.
        let fetches = shared.fetches();
        let current = shared.entry.read(|entry| Arc::as_ptr(&entry.value)).filter(|_| !loads);
        if current != seen.as_ref().map(Arc::as_ptr) {
            return Ok(None);
        }
        let cooldown = fetches.failure.as_ref().filter(|_| loads);
        let cooldown = cooldown.and_then(|failure| failure.cooldown_error(now));
        let (under_way, left) = (fetches.is_under_way(now), fetches.pause.left(now));
        let late = late(&fetches, now);
        drop(fetches);
        let Some(place) = place else { return Err(late) };
        if !under_way {
            if let Some(error) = cooldown {
                return Err(NotServed::Failed(error));
            }
            if left > MAX_WAIT && !loads {
                return Err(late);
            }
            let delay = if loads { Duration::ZERO } else { left };
            renewal.turns.line_up(&this, delay, false);
        }
        let shared = Arc::clone(shared);
        Ok(Some(Waiting { shared, _place: place, ended, asked, loads }))
    }
}

/// A request that waits for a newer value.
pub(crate) struct Waiting<S: Source> {
    shared: Arc<SharedRefresher<S>>,
    _place: Place,
    ended: watch::Receiver<Option<Ended<S::Value>>>,
    asked: Moment,
    /// There was no value at all.
    loads: bool,
}

impl<S: Source> Waiting<S> {
    /// Waits for the next value.
    ///
    /// # Cancellation
    ///
    /// A fetch under way continues. One that has not begun is left out, unless another request
    /// waits for it.
    pub(crate) async fn next(&mut self) -> Result<Newer<S::Value>, NotServed> {
        loop {
            self.wait_for_end().await?;
            let ended = self.ended.borrow_and_update().clone();
            let Some(Ended { began, outcome }) = ended else { continue };
            match outcome {
                Ok(value) => {
                    self.loads = false;
                    return Ok(Newer { value, began });
                }
                Err(error) if self.loads => return Err(NotServed::Failed(error)),
                Err(error) if !began.is_before(self.asked) => {
                    let left = self.shared.fetches().pause.left(self.shared.now());
                    return Err(NotServed::Failed(error.with_retry_after(left)));
                }
                // It began before the request, so the request waits for the next one.
                Err(_) => {}
            }
        }
    }

    /// Notes that the last value served to admit the token of this asker.
    pub(crate) fn note_admitted(&self, asker: Asker) {
        if let Some(renewal) = &self.shared.renewal {
            renewal.note_use();
            renewal.turns.note_admitted(asker);
            renewal.turns.give_back(&self.shared.in_turn());
        }
    }

    /// Waits until a fetch ends, as long as the request may wait.
    async fn wait_for_end(&mut self) -> Result<(), NotServed> {
        let now = self.shared.now();
        let rest = MAX_WAIT.saturating_sub(now.monotonic_since(self.asked));
        if self.waits_in_vain(now, rest) {
            return Err(self.late(now));
        }
        if let Ok(Ok(())) = timeout(rest, self.ended.changed()).await {
            return Ok(());
        }
        let now = self.shared.now();
        // Without a value there is nothing else to decide by. The fetch ends in bounded time.
        let grace = if self.loads && self.is_under_way(now) { LOST_AFTER } else { GRACE };
        if !self.waits_in_vain(now, Duration::ZERO)
            && let Ok(Ok(())) = timeout(grace, self.ended.changed()).await
        {
            return Ok(());
        }
        Err(self.late(now))
    }

    /// Returns true if no fetch begins as long as the request may wait.
    fn waits_in_vain(&self, now: Moment, rest: Duration) -> bool {
        let fetches = self.shared.fetches();
        !self.loads && !fetches.is_under_way(now) && fetches.pause.left(now) > rest
    }

    fn is_under_way(&self, now: Moment) -> bool {
        self.shared.fetches().is_under_way(now)
    }

    fn late(&self, now: Moment) -> NotServed {
        late(&self.shared.fetches(), now)
    }
}

/// Returns the reason that a request gets no newer value in time.
fn late<T>(fetches: &Fetches<T>, now: Moment) -> NotServed {
    let pause = fetches.pause.left(now).max(SHORTEST_RETRY);
    let left = if fetches.is_under_way(now) { SHORTEST_RETRY } else { pause };
    match &fetches.failure {
        Some(failure) => NotServed::Failed(failure.error_with_wait(left)),
        None => NotServed::Late(left),
    }
}
