//! Polls one stream and asks for its verification, as soon as its configuration can be read.

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, OptionFuture, join, select};
use tokio::time::sleep;

use super::{
    backoff::Backoff,
    event::receiver::EventReceiver,
    transmitter::{
        error::TransmitterError,
        poll::Poller,
        stream::EventStream,
        stream_configuration::{DeliveryMethod, StreamConfiguration},
    },
};
use crate::error::config::ConfigError;

/// The longest pause between two attempts to read the configuration.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The tasks of one stream.
#[derive(Debug)]
pub(crate) struct StreamTask {
    receiver: EventReceiver,
    stream: EventStream,
    poller: Option<Poller>,
    /// True if the configuration names the URL to poll.
    finds_url: bool,
    verify_every: Option<Duration>,
}

impl StreamTask {
    pub(crate) const fn new(receiver: EventReceiver, stream: EventStream) -> Self {
        Self { receiver, stream, poller: None, finds_url: false, verify_every: None }
    }

    /// Polls this URL, or the one in the configuration of the stream.
    pub(crate) fn poll(mut self, url: Option<&str>) -> Result<Self, ConfigError> {
        self.poller = url.map(|url| self.receiver.poller(&self.stream, url)).transpose()?;
        self.finds_url = self.poller.is_none();
        Ok(self)
    }

    /// Asks for a verification event each `interval`.
    pub(crate) const fn verify_every(mut self, interval: Duration) -> Self {
        self.verify_every = Some(interval);
        self
    }

    /// Runs until `shutdown` ends.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()> + Clone) {
        let polling = OptionFuture::from(self.poller.take().map(|it| it.run(shutdown.clone())));
        join(polling, self.run_configured(shutdown)).await;
    }

    /// Runs the tasks that need the configuration.
    async fn run_configured(&self, shutdown: impl Future<Output = ()> + Clone) {
        if !self.finds_url && self.verify_every.is_none() {
            return;
        }
        let (ended, reading) = (pin!(shutdown.clone()), pin!(self.read()));
        let Either::Right(((configuration, poller), _)) = select(ended, reading).await else {
            return;
        };
        let polling = OptionFuture::from(poller.map(|it| it.run(shutdown.clone())));
        let verifying = self.verify_every.map(|interval| {
            let task = self.receiver.verification_task(&self.stream, &configuration, interval);
            task.run(shutdown)
        });
        join(polling, OptionFuture::from(verifying)).await;
    }

    /// Reads the configuration until it can be used.
    async fn read(&self) -> (StreamConfiguration, Option<Poller>) {
        let mut backoff = Backoff::up_to(LONGEST_PAUSE);
        loop {
            let error = match self.try_read().await {
                Ok(read) => return read,
                Err(error) => error,
            };
            if self.finds_url {
                self.receiver.note_failed_poll(error.kind());
            }
            sleep(backoff.next(error.retry_after())).await;
        }
    }

    async fn try_read(&self) -> Result<(StreamConfiguration, Option<Poller>), TransmitterError> {
        let configuration = self.stream.read().await?;
        if !self.finds_url {
            return Ok((configuration, None));
        }
        // The URL of a stream that is pushed is one of this service.
        if configuration.delivery_method() != DeliveryMethod::Poll {
            return Err(TransmitterError::bad("the stream is not polled"));
        }
        let url = configuration.endpoint_url();
        let url = url.ok_or_else(|| TransmitterError::bad("the stream has no `endpoint_url`"))?;
        let poller = self.receiver.poller(&self.stream, url);
        let poller = poller.map_err(|_| TransmitterError::bad("its URL can't be polled"))?;
        Ok((configuration, Some(poller)))
    }
}
