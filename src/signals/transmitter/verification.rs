//! Asks for verification events (Shared Signals Framework 1.0 §8.1.4).

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use futures_util::future::select;
use tokio::time::sleep;

use super::{poll::LONGEST_PAUSE, stream::EventStream, stream_configuration::StreamConfiguration};
use crate::signals::{backoff::Backoff, event::expected_states::ExpectedStates};

/// A task that asks for a verification event of one stream from time to time (Shared Signals Framework 1.0
/// §8.1.4.2).
///
/// [`EventReceiver::verification_task`](crate::signals::EventReceiver::verification_task) returns it. It asks
/// more often than its interval if the transmitter would otherwise give up the stream
/// ([`inactivity_timeout`](StreamConfiguration::inactivity_timeout)), and never more often than the
/// transmitter allows ([`min_verification_interval`](StreamConfiguration::min_verification_interval)).
/// The first request is sent at once. Failed requests are repeated after a pause that doubles from one
/// second up to a minute.
#[derive(Debug)]
pub struct VerificationTask {
    stream: EventStream,
    interval: Duration,
    /// The minimum time between two requests.
    at_least: Duration,
    expected: Arc<ExpectedStates>,
}

impl VerificationTask {
    /// Creates a task that asks each `interval`.
    pub(in crate::signals) fn new(
        stream: EventStream,
        configuration: &StreamConfiguration,
        interval: Duration,
        expected: Arc<ExpectedStates>,
    ) -> Self {
        let inactivity = configuration.inactivity_timeout().map_or(Duration::MAX, |it| it / 2);
        let at_least = configuration.min_verification_interval().unwrap_or_default();
        let at_least = at_least.max(Duration::from_secs(1));
        Self { stream, interval: interval.min(inactivity).max(at_least), at_least, expected }
    }

    /// Asks for verification events until `shutdown` ends.
    ///
    /// # Cancellation
    ///
    /// Dropping the future ends the task. An event that was asked for may still arrive.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        select(pin!(shutdown), pin!(self.ask_for_ever())).await;
    }

    async fn ask_for_ever(&self) -> Infallible {
        let mut backoff = Backoff::up_to(LONGEST_PAUSE);
        loop {
            let pause = match self.expected.issue() {
                None => backoff.next(None),
                Some(state) => match self.stream.verify(Some(&state)).await {
                    Ok(()) => {
                        backoff.reset();
                        self.interval
                    }
                    Err(error) => backoff.next(error.retry_after()),
                },
            };
            sleep(pause.max(self.at_least)).await;
        }
    }
}
