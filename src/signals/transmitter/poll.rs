//! Fetches events from a transmitter (RFC 8936).

use std::{convert::Infallible, fmt, mem, pin::pin, sync::Arc, time::Duration};

use futures_util::future::select;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::{
    client::TransmitterClient,
    error::{TransmitterError, TransmitterErrorKind},
    outcomes::Outcomes,
    poll_response::PollResponse,
    poll_state::{PollClaim, PollState},
    request::{Call, TIMEOUT},
    stream::EventStream,
};
use crate::{
    claims::json::{self, Object},
    clock::Moment,
    error::config::ConfigError,
    jose::jws::CompactJws,
    signals::{
        backoff::Backoff,
        received::{ReceiveSet, Received, Refusal},
    },
    telemetry::signals::{Receiver, signal_refused},
    transport::endpoint::Endpoint,
};

/// The maximum length of a response in bytes.
const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// The time beyond that of a long poll in which its response must be complete.
const MARGIN: Duration = Duration::from_secs(10);

/// The time limit for the last poll, after shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest pause after failures, but for `Retry-After`.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The number of polls that a transmitter refuses with the same outcomes before they are forgotten.
const MAX_REFUSALS: u32 = 3;

/// A task that polls the events of one stream (RFC 8936).
///
/// It acknowledges an event only after it is in force. An event that was applied, but not acknowledged
/// because the process ended, arrives again, which is harmless.
///
/// | after | the next poll comes |
/// |---|---|
/// | events | at once |
/// | a long poll without events | at once; after `interval` if the transmitter did not wait |
/// | a failure, or a response that promises more events and brings nothing new | after 1 s, doubled up to 60 s, and not before `Retry-After` (up to 5 min) |
///
/// An event whose keys can't be had just now is not acknowledged and not refused, so it arrives again.
/// A response may be at most 4 MiB long. While responses can't be read, fewer events are requested.
///
/// # Security
///
/// Events are verified by their signatures, not by the connection. At most `max_events` of a response are
/// processed, whatever it holds.
pub struct Poller {
    client: TransmitterClient,
    endpoint: Endpoint,
    receiver: Arc<dyn ReceiveSet>,
    claim: PollClaim,
    max_events: usize,
    wait: Duration,
    interval: Duration,
}

impl Poller {
    /// Creates the only poller of a receiver.
    pub(in crate::signals) fn new(
        stream: &EventStream,
        endpoint_url: &str,
        receiver: Arc<dyn ReceiveSet>,
        state: &Arc<PollState>,
    ) -> Result<Self, ConfigError> {
        let client = stream.client().clone();
        let endpoint = client.endpoint(endpoint_url);
        let endpoint = endpoint.map_err(|problem| ConfigError::of("endpoint_url", problem))?;
        let claim = state.claim()?;
        let (wait, interval) = (Duration::from_secs(60), Duration::from_secs(5));
        Ok(Self { client, endpoint, receiver, claim, max_events: 100, wait, interval })
    }

    /// Sets the maximum number of events in one response. The default is 100; zero counts as 1.
    #[must_use]
    pub fn max_events(mut self, events: usize) -> Self {
        self.max_events = events.max(1);
        self
    }

    /// Sets the time that the transmitter may wait for events before it responds to a long poll. The default
    /// is 60 s.
    ///
    /// The response must be complete ten seconds later. If the transmitter waits for longer, long polls end
    /// without a response and are repeated. No event is lost.
    #[must_use]
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets the time between polls of a transmitter that responds without events at once, because it
    /// knows no long polls. The default is 5 s.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Polls until `shutdown` ends, and then sends the outcomes that the transmitter does not know yet.
    ///
    /// After `shutdown` it takes at most five seconds. Another poller of the receiver can be created when
    /// it has ended.
    ///
    /// # Cancellation
    ///
    /// Events that are not acknowledged arrive again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut outcomes = Outcomes::default();
        {
            // A poll that is dropped early may have reported its outcomes. They are reported again.
            let polling = pin!(self.poll_for_ever(&mut outcomes));
            select(pin!(shutdown), polling).await;
        }
        if !outcomes.is_empty() {
            let last = self.call(&outcomes, 0, true);
            let _ = timeout(FLUSH_TIMEOUT, self.client.send(&last)).await;
        }
    }

    async fn poll_for_ever(&self, outcomes: &mut Outcomes) -> Infallible {
        let mut pace = Pace::new(self.max_events);
        loop {
            let began = Moment::now(&**self.client.clock());
            let polled = self.poll(outcomes, &pace).await;
            let took = Moment::now(&**self.client.clock()).monotonic_since(began);
            let is_probe = pace.is_long && polled.as_ref().is_err_and(TransmitterError::timed_out);
            match &polled {
                Ok(_) => self.claim.state().succeeded(),
                // Only the next poll shows if the transmitter waits longer or is away.
                Err(_) if is_probe => {}
                Err(error) => self.claim.state().failed(error.kind()),
            }
            let pause = match polled {
                Ok(polled) => pace.after(polled, self.interval.saturating_sub(took)),
                Err(error) => {
                    if pace.is_refused(&error) {
                        outcomes.clear();
                    }
                    pace.after_failure(&error, is_probe)
                }
            };
            sleep(pause).await;
        }
    }

    /// Sends one poll, and processes the SETs in its response.
    async fn poll(&self, outcomes: &mut Outcomes, pace: &Pace) -> Result<Polled, TransmitterError> {
        let call = self.call(outcomes, pace.max_events, !pace.is_long);
        let response = self.client.send(&call).await?;
        let response = PollResponse::parse(&response)?;
        let told = mem::take(outcomes);
        let mut has_news = false;
        for (jti, set) in response.sets().take(self.max_events) {
            let outcome = match self.receive(jti, set).await {
                Received::Applied => Ok(()),
                Received::Refused(refusal) => Err(refusal),
                Received::NotNow { .. } => continue,
            };
            outcomes.insert(jti, outcome);
            // A transmitter that ignores acknowledgements sends the same again.
            has_news |= !told.contains(jti);
        }
        Ok(if has_news {
            Polled::News
        } else if response.more_available || !response.is_empty() {
            Polled::NothingNew
        } else {
            Polled::Nothing
        })
    }

    async fn receive(&self, jti: &str, set: &RawValue) -> Received {
        let refused = |description| {
            signal_refused(Receiver::Event, description);
            Received::Refused(Refusal { err: "invalid_request", description })
        };
        let Some(set) = json::string(set) else { return refused("the SET is not a string") };
        // A `jti` that is acknowledged must be that of the event which was applied.
        if own_jti(&set).is_some_and(|own| own != jti) {
            return refused("the `jti` of the SET is another one");
        }
        self.receiver.receive(&set).await
    }

    fn call(&self, outcomes: &Outcomes, max_events: usize, return_immediately: bool) -> Call {
        let body = outcomes.to_json(max_events, return_immediately);
        let wait = if return_immediately { TIMEOUT } else { self.wait.saturating_add(MARGIN) };
        Call {
            has_descriptions: outcomes.has_errors(),
            timeout: wait,
            limit: MAX_RESPONSE,
            ..Call::post(&self.endpoint, &body)
        }
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("max_events", &self.max_events)
            .field("wait", &self.wait)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// Returns the `jti` in the payload of a SET that is not verified.
fn own_jti(set: &str) -> Option<String> {
    let jws = CompactJws::parse(set).ok()?;
    let payload = Object::parse(jws.payload()).ok()?;
    payload.string("jti").ok()?.map(Into::into)
}

/// The contents of a response to a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Polled {
    /// Events with outcomes that the transmitter does not know.
    News,
    /// Events without a new outcome, or the promise of more.
    NothingNew,
    /// Neither events nor the promise of more.
    Nothing,
}

/// The form and the time of the next poll.
struct Pace {
    backoff: Backoff,
    /// True if the transmitter shall wait for events. The first poll, and the first one after a failure,
    /// gets a response at once.
    is_long: bool,
    limit: usize,
    max_events: usize,
    refusals: u32,
}

impl Pace {
    fn new(limit: usize) -> Self {
        let backoff = Backoff::up_to(LONGEST_PAUSE);
        Self { backoff, is_long: false, limit, max_events: limit, refusals: 0 }
    }

    /// Returns the pause after a successful poll. `rest` is what is left of the interval.
    fn after(&mut self, polled: Polled, rest: Duration) -> Duration {
        let was_long = mem::replace(&mut self.is_long, true);
        self.refusals = 0;
        self.max_events = self.max_events.saturating_mul(2).min(self.limit);
        match polled {
            Polled::News => self.backoff.reset(),
            Polled::NothingNew => return self.backoff.next(None),
            // Otherwise a transmitter that fails on long polls alone would get them at once.
            Polled::Nothing if was_long => {
                self.backoff.reset();
                return rest;
            }
            Polled::Nothing => {}
        }
        Duration::ZERO
    }

    /// Returns true if the transmitter keeps refusing polls, perhaps for the outcomes in them.
    fn is_refused(&mut self, error: &TransmitterError) -> bool {
        if error.kind() != TransmitterErrorKind::Refused {
            return false;
        }
        self.refusals += 1;
        self.refusals.is_multiple_of(MAX_REFUSALS)
    }

    /// Returns the pause after a failed poll. A probe comes at once.
    fn after_failure(&mut self, error: &TransmitterError, is_probe: bool) -> Duration {
        self.is_long = false;
        // The response was too long, or one of its SETs spoils it.
        if error.kind() == TransmitterErrorKind::BadResponse {
            self.max_events = (self.max_events / 2).max(1);
        }
        if is_probe { Duration::ZERO } else { self.backoff.next(error.retry_after()) }
    }
}
