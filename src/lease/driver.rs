//! The task that watches over the tokens of open streams.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt as _, Stream as _, stream::FuturesUnordered};
use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    end::EndCause,
    key::TokenKey,
    registry::Registry,
    schedule::MAX_PAUSE,
    state::{LeaseState, Registrar as _},
    waiters::{WeakHeld, end_held},
    watch::{Ending, Ends, blames_token},
};
#[cfg(feature = "_jose")]
use crate::jose::key::RETIREMENTS;
use crate::{
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::{
        active::ActiveToken,
        request::VerifyRequest,
        verifier::{Outcome, Verifier as _},
    },
};

/// The time for the rest of a server-sent event after its stream should have ended.
const REST_OF_EVENT: Duration = Duration::from_secs(1);

/// The shortest time between two looks at all tokens, however many cutoffs come.
const SCAN_PAUSE: Duration = Duration::from_millis(10);

/// The most leases that are ended before other tasks of the thread get a turn.
const BATCH: usize = 256;

/// Starts the driver of a registry.
///
/// # Errors
///
/// If there is no runtime to run it on.
pub(super) fn start(registry: &Arc<Registry>) -> Result<(), VerifyError> {
    match Handle::try_current() {
        Ok(runtime) => {
            // Created here, so that it is dropped, and ends the streams, if the runtime ends.
            let driver = Driver::new(Arc::clone(registry));
            drop(runtime.spawn(driver.run()));
            Ok(())
        }
        Err(error) => {
            registry.lose_driver();
            Err(VerifyError::new(ErrorKind::Misconfigured).with_source(error))
        }
    }
}

/// The most verifications under way at one issuer. More would be refused where its server has no more
/// permits for them.
const MAX_UNDER_WAY: usize = 32;

/// The verifications of the tokens of one issuer. So a server that hangs holds up no other's.
#[derive(Default)]
struct Turns {
    under_way: usize,
    waiting: VecDeque<(Arc<TokenKey>, VerifyRequest)>,
}

type Asked = Pin<Box<dyn Future<Output = (Arc<TokenKey>, Outcome)> + Send>>;

struct Driver {
    registry: Arc<Registry>,
    asked: FuturesUnordered<Asked>,
    turns: HashMap<u64, Turns>,
    /// Values that are being polled or wait for the rest of an event, the first to be dropped first.
    waiting: VecDeque<(Instant, WeakHeld)>,
    seen: (u64, u64),
    next_scan: Instant,
    /// True if the registry needs it no longer.
    is_dismissed: bool,
}

impl Driver {
    fn new(registry: Arc<Registry>) -> Self {
        let next_scan = registry.now().monotonic();
        let seen = counts(&registry);
        Self {
            registry,
            asked: FuturesUnordered::new(),
            turns: HashMap::new(),
            waiting: VecDeque::new(),
            seen,
            next_scan,
            is_dismissed: false,
        }
    }

    async fn run(mut self) {
        loop {
            let registry = Arc::clone(&self.registry);
            let mut woken = pin!(registry.woken.notified());
            let mut cutoff = pin!(registry.settings().revocations.changes().next());
            #[cfg(feature = "_jose")]
            let mut retirement = pin!(RETIREMENTS.next());
            let mut next = self.look().await;
            if self.waiting.is_empty() && self.asked.is_empty() && registry.dismisses_driver() {
                self.is_dismissed = true;
                return;
            }
            if let Some((at, _)) = self.waiting.front() {
                next = next.min(*at);
            }
            if counts(&registry) != self.seen {
                next = next.min(self.next_scan);
            }
            let mut sleep: Pin<&mut Sleep> = pin!(sleep_until(next));
            let answers = poll_fn(|cx| {
                let mut answers = Vec::new();
                while let Poll::Ready(Some(answer)) = Pin::new(&mut self.asked).poll_next(cx) {
                    answers.push(answer);
                    if answers.len() == BATCH {
                        break;
                    }
                }
                #[cfg(feature = "_jose")]
                let retired = retirement.as_mut().poll(cx).is_ready();
                #[cfg(not(feature = "_jose"))]
                let retired = false;
                let changed = cutoff.as_mut().poll(cx).is_ready();
                let woken = woken.as_mut().poll(cx).is_ready();
                let is_due = sleep.as_mut().poll(cx).is_ready();
                if answers.is_empty() && !is_due && !retired && !changed && !woken {
                    return Poll::Pending;
                }
                Poll::Ready(answers)
            })
            .await;
            for (key, outcome) in answers {
                if let Some(turns) = self.turns.get_mut(&key.issuer) {
                    turns.under_way -= 1;
                }
                self.start_next(key.issuer);
                self.answer(&key, outcome).await;
            }
        }
    }

    /// Looks at the tokens that are due, and at all where something changed. Returns when the next
    /// one is due.
    async fn look(&mut self) -> Instant {
        let now = self.registry.now();
        while self.waiting.front().is_some_and(|(at, _)| *at <= now.monotonic()) {
            if let Some((_, held)) = self.waiting.pop_front()
                && !end_held(&held, true)
            {
                self.waiting.push_back((now.monotonic() + REST_OF_EVENT, held));
            }
        }
        let counts = counts(&self.registry);
        if counts != self.seen && self.next_scan <= now.monotonic() {
            self.seen = counts;
            self.registry.look_at_changed(now);
            self.next_scan = pause_after_scan(now.monotonic(), self.registry.now().monotonic());
        }
        loop {
            let (mut ends, mut requests) = (Ends::default(), Vec::new());
            let next = self.registry.look_at_due(now, &mut ends, &mut requests);
            requests.into_iter().for_each(|(key, request)| self.queue(key, request));
            self.finish(ends.ending).await;
            match next {
                Some(next) if next <= now.monotonic() => tokio::task::yield_now().await,
                Some(next) => return next,
                None => return now.monotonic() + MAX_PAUSE,
            }
        }
    }

    /// Verifies a token again when it is its turn.
    fn queue(&mut self, key: Arc<TokenKey>, request: VerifyRequest) {
        let issuer = key.issuer;
        self.turns.entry(issuer).or_default().waiting.push_back((key, request));
        self.start_next(issuer);
    }

    /// Starts the verifications of an issuer whose turn it is.
    fn start_next(&mut self, issuer: u64) {
        loop {
            let Some(turns) = self.turns.get_mut(&issuer) else { return };
            if turns.under_way >= MAX_UNDER_WAY {
                return;
            }
            let Some((key, request)) = turns.waiting.pop_front() else {
                if turns.under_way == 0 {
                    self.turns.remove(&issuer);
                }
                return;
            };
            if self.registry.is_watched(&key) {
                turns.under_way += 1;
                self.ask(key, request);
            }
        }
    }

    /// Starts to verify a token again.
    fn ask(&self, key: Arc<TokenKey>, request: VerifyRequest) {
        let verifier = self.registry.verifier().clone();
        // A verifier of the application may panic. No stream may lose its watch by that.
        let verified = AssertUnwindSafe(async move { verifier.verify(request).await });
        self.asked.push(Box::pin(async move {
            let outcome = verified.catch_unwind().await.unwrap_or_else(|_| {
                Err(VerifyError::new(ErrorKind::Unavailable).with_context("the verifier panicked"))
            });
            (key, outcome)
        }));
    }

    /// Judges the streams of a token by the outcome of its verification.
    async fn answer(&mut self, key: &Arc<TokenKey>, outcome: Outcome) {
        let mut ends = Ends::default();
        let known = self.registry.answer(key, outcome, &mut ends);
        let mut ending = ends.ending;
        if let Some((active, leases)) = known {
            for (at, lease) in leases.into_iter().enumerate() {
                if at % BATCH == BATCH - 1 {
                    tokio::task::yield_now().await;
                }
                if let Some(cause) = judge(&lease, &active) {
                    ending.push(Ending { lease, key: Arc::clone(key), cause });
                }
            }
        }
        self.finish(ending).await;
    }

    /// Ends leases.
    async fn finish(&mut self, ending: Vec<Ending>) {
        for (at, ending) in ending.into_iter().enumerate() {
            if at % BATCH == BATCH - 1 {
                tokio::task::yield_now().await;
            }
            let waiting = self.registry.finish(ending);
            let until = self.registry.now().monotonic() + REST_OF_EVENT;
            self.waiting.extend(waiting.into_iter().map(|held| (until, held)));
        }
    }
}

impl Drop for Driver {
    /// Ends all streams if the task ends otherwise than by being dismissed: with its runtime, or by a
    /// panic. Nobody would watch over them.
    fn drop(&mut self) {
        if self.is_dismissed {
            return;
        }
        self.registry.lose_driver();
        end_all(&self.registry, &EndCause::ShutDown);
        for (_, held) in self.waiting.drain(..) {
            end_held(&held, true);
        }
    }
}

/// Ends all leases at once.
pub(super) fn end_all(registry: &Registry, cause: &EndCause) {
    for ending in registry.all_ending(cause).ending {
        for held in registry.finish(ending) {
            end_held(&held, true);
        }
    }
}

/// Returns the cause for which a lease ends by these facts, if they are not good enough.
fn judge(lease: &LeaseState, active: &ActiveToken) -> Option<EndCause> {
    // A requirement of the application may panic.
    match catch_unwind(AssertUnwindSafe(|| lease.judge(active))) {
        Ok(Ok(_)) => None,
        Ok(Err(error)) if blames_token(&error) => Some(EndCause::Refused(error)),
        // Nothing is wrong with the token, and nothing is known about it that was not before.
        Ok(Err(error)) if active.is_stale() || error.kind() == ErrorKind::ClockWrong => None,
        // A requirement of the application can't be checked. A request would be refused too.
        Ok(Err(error)) => Some(EndCause::Unverified(error)),
        Err(_) => Some(EndCause::Refused(
            VerifyError::new(ErrorKind::Denied).with_context("a requirement panicked"),
        )),
    }
}

/// Returns when to look at all tokens next, after a look that took from `start` to `end`.
///
/// No further streams are opened during a look. With many tokens, and many cutoffs, that is a fifth of
/// the time at most.
fn pause_after_scan(start: Instant, end: Instant) -> Instant {
    end + SCAN_PAUSE.max(4 * end.saturating_duration_since(start))
}

/// Returns how many cutoffs and retirements of keys there were.
fn counts(registry: &Registry) -> (u64, u64) {
    let cutoffs = registry.settings().revocations.changes().count();
    #[cfg(feature = "_jose")]
    return (cutoffs, RETIREMENTS.count());
    #[cfg(not(feature = "_jose"))]
    (cutoffs, 0)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an instant of paused time to count from")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn looks_at_all_tokens_take_a_fifth_of_the_time_at_most() {
        let start = Instant::now();
        assert_eq!(pause_after_scan(start, start), start + SCAN_PAUSE);
        let took = Duration::from_millis(50);
        assert_eq!(pause_after_scan(start, start + took), start + 5 * took);
    }
}
