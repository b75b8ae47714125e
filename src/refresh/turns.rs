//! Takes the fetches from one server in turn.
//!
//! At most four fetches a second begin, not counting those that served to admit a token. The next
//! one is made for the peer that has waited for its turn the longest. Peers that a token was admitted
//! from come first. So a client with made-up tokens can delay the fetches of other clients only by
//! its own share.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify};

use super::{
    asker::{Asker, RecentAskers},
    places::{Places, Spot},
};
use crate::clock::{Moment, SystemClock};

/// The time between the beginnings of two fetches.
const GAP: Duration = Duration::from_millis(250);

/// The turns of the fetches from one server.
pub(crate) struct Turns {
    start: Moment,
    line: Mutex<Line>,
    admitted: Mutex<RecentAskers<()>>,
    /// Wakes the task that waits for the next turn.
    changed: Arc<Notify>,
}

/// A value that is fetched when its turn has come.
pub(crate) trait InTurn: Send + Sync {
    /// Begins a fetch. `on_demand` is true if a request waits for it.
    fn begin(self: Arc<Self>, on_demand: bool);

    /// Returns true if the value has served to admit a token.
    fn is_in_use(&self) -> bool;
}

/// The time since the turns were created, by the monotonic clock.
type Time = Duration;

#[derive(Default)]
struct Line {
    queues: HashMap<usize, Queue>,
    /// The time from which the next fetch may begin.
    next: Time,
    /// The value that was fetched last, unless that fetch doesn't count.
    last: Option<usize>,
    /// The number of turns so far.
    turn: u64,
    /// How often a value was lined up.
    lined_up: u64,
    /// The last turn of each asker.
    served: RecentAskers<u64>,
    /// The number of the task that waits for the next turn, if there is one.
    task: Option<u64>,
    tasks: u64,
    /// The time at which that task wakes up.
    wakes: Time,
}

/// Everything that waits for the fetches of one value.
struct Queue {
    value: Weak<dyn InTurn>,
    places: Places,
    /// This service wants a fetch that no request waits for.
    wanted: bool,
    due: Option<Due>,
}

#[derive(Clone, Copy)]
struct Due {
    at: Time,
    /// The place in the order in which values were lined up.
    number: u64,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            // Only the monotonic clock counts, so any wall clock will do.
            start: Moment::now(&SystemClock),
            line: Mutex::default(),
            admitted: Mutex::default(),
            changed: Arc::default(),
        }
    }

    /// Notes that a token from this asker was admitted.
    pub(crate) fn note_admitted(&self, asker: Asker) {
        // The table is consistent at every point that could panic.
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).note(asker, ());
    }

    /// Takes a place for a request that waits for `value`, or returns `None` if there is none left.
    ///
    /// Requests with the same `lookup` share a place. `limited` is false for requests that can do
    /// nothing without a value.
    pub(super) fn take_place(
        self: &Arc<Self>,
        value: &Weak<dyn InTurn>,
        asker: Asker,
        lookup: Option<u64>,
        limited: bool,
    ) -> Option<Place> {
        let id = id_of(value);
        let mut line = self.line();
        let spot = line.queue(value).places.take(asker, lookup, limited);
        if spot.is_none() {
            line.remove_if_idle(id);
        }
        let turns = Arc::clone(self);
        spot.map(|spot| Place { turns, id, spot })
    }

    /// Has a fetch of `value` begin as soon as its turn has come, but not before `delay`.
    ///
    /// Without `wanted` nothing is fetched unless a request waits by then.
    pub(super) fn line_up(
        self: &Arc<Self>,
        value: &Weak<dyn InTurn>,
        delay: Duration,
        wanted: bool,
    ) {
        let at = self.now().saturating_add(delay);
        let mut line = self.line();
        line.lined_up += 1;
        let number = line.lined_up;
        let queue = line.queue(value);
        queue.wanted |= wanted;
        match &mut queue.due {
            Some(due) => due.at = due.at.min(at),
            due => *due = Some(Due { at, number }),
        }
        // The task may sleep for longer.
        let is_late = line.task.is_some() && at.max(line.next) < line.wakes;
        drop(line);
        if is_late {
            self.changed.notify_one();
        }
        self.advance();
    }

    /// Does the same as [`line_up`](Self::line_up) if any request waits for `value`.
    pub(super) fn line_up_waiting(self: &Arc<Self>, value: &Weak<dyn InTurn>, delay: Duration) {
        let waits = |queue: &Queue| !queue.places.is_empty();
        let waiting = self.line().queues.get(&id_of(value)).is_some_and(waits);
        if waiting {
            self.line_up(value, delay, false);
        }
    }

    /// Lets the next fetch begin at once if the last one was that of `value`, because it served to
    /// admit a token.
    ///
    /// Many issuers at one server are thus ready soon after a start.
    pub(super) fn give_back(self: &Arc<Self>, value: &Weak<dyn InTurn>) {
        let now = self.now();
        let mut line = self.line();
        if line.last != Some(id_of(value)) {
            return;
        }
        line.last = None;
        line.next = line.next.min(now);
        drop(line);
        self.advance();
    }

    /// Begins the next fetch if one may begin, and has a task wait for the one after it.
    fn advance(self: &Arc<Self>) {
        let now = self.now();
        let mut line = self.line();
        let next = (line.next <= now).then(|| line.take_next(now, &self.admitted)).flatten();
        if next.is_some() {
            line.next = now.saturating_add(GAP);
        }
        let needs_task =
            line.task.is_none() && line.queues.values().any(|queue| queue.due.is_some());
        // Outside of a runtime no task can wait. The next request tries again.
        let runtime = needs_task.then(Handle::try_current).and_then(Result::ok);
        let task = runtime.map(|runtime| {
            line.tasks += 1;
            line.task = Some(line.tasks);
            (runtime, Task { turns: Arc::downgrade(self), number: line.tasks })
        });
        // A runtime that shuts down drops the task at once, and `Task::drop` takes the lock.
        drop(line);
        if let Some((runtime, task)) = task {
            runtime.spawn(task.run(Arc::clone(&self.changed)));
        }
        if let Some((value, on_demand)) = next {
            value.begin(on_demand);
        }
    }

    fn now(&self) -> Time {
        Moment::now(&SystemClock).monotonic_since(self.start)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // The line is consistent at every point that could panic.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl Line {
    fn queue(&mut self, value: &Weak<dyn InTurn>) -> &mut Queue {
        self.queues.entry(id_of(value)).or_insert_with(|| Queue {
            value: Weak::clone(value),
            places: Places::default(),
            wanted: false,
            due: None,
        })
    }

    /// Takes the value whose turn it is, and whether a request waits for it.
    fn take_next(
        &mut self,
        now: Time,
        admitted: &Mutex<RecentAskers<()>>,
    ) -> Option<(Arc<dyn InTurn>, bool)> {
        // The requests that waited may all be gone, and so may the value.
        self.queues.retain(|_, queue| {
            let wanted = queue.wanted && queue.value.strong_count() > 0;
            if !wanted && queue.places.is_empty() {
                queue.due = None;
            }
            queue.due.is_some() || !queue.places.is_empty()
        });
        let admitted = admitted.lock().unwrap_or_else(PoisonError::into_inner);
        let served = &self.served;
        let due = self.queues.iter().filter_map(|(id, queue)| {
            let due = queue.due.filter(|due| due.at <= now)?;
            let value = queue.value.upgrade()?;
            let rank = |asker: Asker| {
                let known = asker == Asker::Own || admitted.get(asker).is_some();
                (Reverse(known), served.get(asker).unwrap_or(0))
            };
            let best = queue.askers().map(rank).min()?;
            Some(((best, Reverse(value.is_in_use()), due.number), *id, value))
        });
        let (_, id, value) = due.min_by_key(|(rank, ..)| *rank)?;
        drop(admitted);
        let queue = self.queues.get_mut(&id)?;
        let on_demand = !queue.places.is_empty();
        for asker in queue.askers() {
            self.turn += 1;
            self.served.note(asker, self.turn);
        }
        (queue.due, queue.wanted) = (None, false);
        self.last = Some(id);
        self.remove_if_idle(id);
        Some((value, on_demand))
    }

    /// Returns the time until the next fetch may begin, or `None` if nothing is due.
    fn wait(&self, now: Time) -> Option<Duration> {
        let first = self.queues.values().filter_map(|queue| Some(queue.due?.at)).min()?;
        Some(first.max(self.next).saturating_sub(now))
    }

    fn remove_if_idle(&mut self, id: usize) {
        let idle = |queue: &Queue| queue.due.is_none() && queue.places.is_empty();
        if self.queues.get(&id).is_some_and(idle) {
            self.queues.remove(&id);
        }
    }
}

impl Queue {
    fn askers(&self) -> impl Iterator<Item = Asker> {
        self.places.askers().chain(self.wanted.then_some(Asker::Own))
    }
}

/// A place of a request that waits for a fetch. It is free again when this is dropped.
pub(super) struct Place {
    turns: Arc<Turns>,
    id: usize,
    spot: Spot,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.turns.line();
        if let Some(queue) = line.queues.get_mut(&self.id) {
            queue.places.free(self.spot);
        }
        line.remove_if_idle(self.id);
    }
}

/// The task that waits for the next turn.
struct Task {
    turns: Weak<Turns>,
    number: u64,
}

impl Task {
    async fn run(self, changed: Arc<Notify>) {
        while let Some(wait) = self.next_wait() {
            // Either way the wait is computed anew.
            let _ = tokio::time::timeout(wait, changed.notified()).await;
            if let Some(turns) = self.turns.upgrade() {
                turns.advance();
            }
        }
    }

    /// Returns the time until the next turn, or `None` if the task has nothing left to do.
    fn next_wait(&self) -> Option<Duration> {
        let turns = self.turns.upgrade()?;
        let now = turns.now();
        let mut line = turns.line();
        let wait = line.wait(now);
        match wait {
            Some(wait) => line.wakes = now.saturating_add(wait),
            None => line.task = None,
        }
        wait
    }
}

impl Drop for Task {
    /// Lets another task take over if this one ends with its runtime.
    fn drop(&mut self) {
        let Some(turns) = self.turns.upgrade() else { return };
        let mut line = turns.line();
        if line.task == Some(self.number) {
            line.task = None;
        }
    }
}

/// Returns the address of a value, which no other value has as long as a queue holds it.
fn id_of(value: &Weak<dyn InTurn>) -> usize {
    value.as_ptr().cast::<()>().addr()
}

#[cfg(test)]
mod tests;
