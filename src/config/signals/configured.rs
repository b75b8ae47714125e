//! The receivers that a file configures.

use bytes::Bytes;
use futures_util::future::{FutureExt as _, join, join_all};

use crate::signals::{
    event::receiver::EventReceiver, logout::service::LogoutService, stream_task::StreamTask,
};

/// The receivers of logouts and security events that a configuration sets up.
///
/// [`Config::signals`](super::super::file::Config::signals) returns it.
#[derive(Debug)]
#[must_use = "nothing is received until its services are routed and `run` is polled"]
pub struct ConfiguredSignals {
    logout: Option<LogoutService<Bytes>>,
    transmitters: Vec<ConfiguredTransmitter>,
    tasks: Vec<StreamTask>,
}

#[derive(Debug)]
struct ConfiguredTransmitter {
    issuer: String,
    receiver: EventReceiver,
    is_pushed: bool,
}

impl ConfiguredSignals {
    pub(super) const fn new(logout: Option<LogoutService<Bytes>>) -> Self {
        Self { logout, transmitters: Vec::new(), tasks: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        issuer: &str,
        receiver: EventReceiver,
        is_pushed: bool,
        task: Option<StreamTask>,
    ) {
        let issuer = issuer.to_owned();
        self.transmitters.push(ConfiguredTransmitter { issuer, receiver, is_pushed });
        self.tasks.extend(task);
    }

    /// Returns the service that receives back-channel logouts, if `logout_client_id` is set.
    ///
    /// All services that this returns share one queue. They must not be covered by
    /// [`layer`](crate::ResourceServer::layer): the authorization server has no access token.
    #[must_use]
    pub fn logout_service<B: From<Bytes>>(&self) -> Option<LogoutService<B>> {
        self.logout.as_ref().map(|service| service.with_body(B::from))
    }

    /// Returns the receivers of pushed events, each with the issuer of its transmitter.
    ///
    /// [`push_service`](EventReceiver::push_service) of each must be routed, at the `endpoint_url` of its
    /// stream. It must not be covered by [`layer`](crate::ResourceServer::layer): the transmitter has no
    /// access token.
    pub fn receivers(&self) -> impl Iterator<Item = (&str, &EventReceiver)> {
        let pushed = self.transmitters.iter().filter(|one| one.is_pushed);
        pushed.map(|one| (&*one.issuer, &one.receiver))
    }

    /// Polls streams and asks for verification events until `shutdown` ends.
    ///
    /// The configuration of a stream is read first where it is needed, after failures again and again,
    /// with pauses of one second up to a minute. Meanwhile the signals of a stream that is polled are
    /// stale, which readiness shows. If the configuration asks for none of this, it only waits for
    /// `shutdown`.
    ///
    /// After `shutdown` it takes at most five seconds, in which received events are acknowledged.
    ///
    /// # Cancellation
    ///
    /// Events that are not acknowledged arrive again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let shutdown = shutdown.shared();
        let tasks = self.tasks.into_iter().map(|task| task.run(shutdown.clone()));
        // Before the tasks are polled, so that these see a shutdown that has come already.
        join(shutdown.clone(), join_all(tasks)).await;
    }
}
