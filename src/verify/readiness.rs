use std::{fmt, sync::Arc, time::Duration};

use super::stats::BreakerState;
use crate::{
    clock::{Moment, UnixTime},
    error::kind::ErrorKind,
    telemetry::{server_state::ServerState, signal_state::SignalState},
    transport::calls::LastCall,
};

/// The readiness of an issuer: whether its tokens can be verified, as known without a request to
/// it.
///
/// Keys and metadata are fetched when they are first needed. A service that has seen no token yet
/// and was not warmed is therefore not ready, although nothing is wrong. An issuer that can't be
/// reached may still be ready, for as long as the values fetched last may be used; then there is
/// also a [`failure`](Self::failure).
///
/// Ready means that a good token of the issuer would be admitted, as far as that depends on fetched
/// values. It does not include whether the authorization server responds now
/// ([`is_reachable`](Self::is_reachable), [`breaker`](Self::breaker)): cached tokens are admitted
/// without it, and a load balancer that relied on it would take all instances of a service down for
/// the outage of another one.
///
/// ```
/// use tower_introspect::{jose::Algorithm, jwt::{JwtVerifier, KeySet}};
///
/// let given = JwtVerifier::builder("https://as.example.com")
///     .keys(KeySet::from_secret(Algorithm::HS256, &[7; 32])?)
///     .build()?;
/// assert!(given.readiness().is_ready());
/// assert_eq!(given.readiness().failure(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Readiness {
    issuer: Arc<str>,
    ready: bool,
    failing: Option<(ErrorKind, Moment)>,
    last_call: Option<LastCall>,
    breaker: Option<BreakerState>,
    server: Option<ServerState>,
    signals: Option<SignalState>,
    keys_fetched_at: Option<Moment>,
    unknown_keys: usize,
}

impl Readiness {
    /// Creates the readiness of an issuer for which nothing has to be fetched.
    pub(crate) fn always_ready(issuer: impl Into<Arc<str>>) -> Self {
        Self::new(issuer, true, None)
    }

    pub(crate) fn new(
        issuer: impl Into<Arc<str>>,
        ready: bool,
        failing: Option<(ErrorKind, Moment)>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            ready,
            failing,
            last_call: None,
            breaker: None,
            server: None,
            signals: None,
            keys_fetched_at: None,
            unknown_keys: 0,
        }
    }

    /// Adds the time at which the keys were fetched, and the number of unknown key IDs.
    pub(crate) fn with_keys(mut self, fetched_at: Option<Moment>, unknown: usize) -> Self {
        (self.keys_fetched_at, self.unknown_keys) = (fetched_at, unknown);
        self
    }

    /// Adds the last call of the server.
    pub(crate) fn with_last_call(mut self, last_call: Option<LastCall>) -> Self {
        self.last_call = last_call;
        self
    }

    /// Adds the breaker in front of the server.
    pub(crate) fn with_breaker(mut self, breaker: Option<BreakerState>) -> Self {
        self.breaker = breaker;
        self
    }

    /// Adds the state of the introspection endpoint.
    pub(crate) fn with_server(mut self, server: Option<ServerState>) -> Self {
        self.server = server;
        self
    }

    /// Adds whether signals about the tokens of the issuer arrive.
    pub(crate) fn with_signals(mut self, signals: Option<SignalState>) -> Self {
        self.signals = signals;
        self
    }

    /// Combines this with `other`, of the same issuer. Keeps the older of two failures, the older
    /// of two key sets, and the later of two calls.
    pub(crate) fn merge(self, other: &Self) -> Self {
        let failing = match (self.failing, other.failing) {
            (Some(one), Some(two)) if two.1.wall() < one.1.wall() => Some(two),
            (one, two) => one.or(two),
        };
        let keys_fetched_at = match (self.keys_fetched_at, other.keys_fetched_at) {
            (Some(one), Some(two)) if two.is_before(one) => Some(two),
            (one, two) => one.or(two),
        };
        Self {
            ready: self.ready && other.ready,
            failing,
            last_call: LastCall::later(self.last_call, other.last_call),
            keys_fetched_at,
            unknown_keys: self.unknown_keys + other.unknown_keys,
            breaker: self.breaker.max(other.breaker),
            server: self.server.or(other.server),
            signals: self.signals.max(other.signals),
            ..self
        }
    }

    /// Returns the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns true if everything is there that the issuer's tokens are verified with.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Returns the failure, if the last fetch failed or brought unusable values.
    #[must_use]
    pub fn failure(&self) -> Option<ErrorKind> {
        self.failing.map(|(kind, _)| kind)
    }

    /// Returns the time since which every fetch has failed.
    #[must_use]
    pub fn failing_since(&self) -> Option<UnixTime> {
        self.failing.map(|(_, since)| since.wall())
    }

    /// Returns true if the authorization server responded to its last call, of whatever kind.
    /// `None` if it was not called yet.
    ///
    /// A response that violates the protocol, or that rejects this service, counts as a response.
    #[must_use]
    pub fn is_reachable(&self) -> Option<bool> {
        self.last_call.map(|last| last.failure != Some(ErrorKind::Unavailable))
    }

    /// Returns the time at which the last call of the authorization server ended.
    #[must_use]
    pub fn last_call(&self) -> Option<UnixTime> {
        self.last_call.map(|last| last.ended.wall())
    }

    /// Returns the failure of that call, if it failed. A bad token is not a failure.
    #[must_use]
    pub fn last_call_failure(&self) -> Option<ErrorKind> {
        self.last_call.and_then(|last| last.failure)
    }

    /// Returns the state of the breaker in front of the introspection endpoint, if there is one.
    #[must_use]
    pub fn breaker(&self) -> Option<BreakerState> {
        self.breaker
    }

    /// Returns the state of the introspection endpoint as this service found it by tokens of its
    /// own, if tokens are introspected.
    #[must_use]
    pub fn server(&self) -> Option<ServerState> {
        self.server
    }

    /// Returns whether signals about the tokens of this issuer, such as logouts, arrive. `None` if
    /// nobody sends any, or if their sender does not show that they arrive.
    #[must_use]
    pub fn signals(&self) -> Option<SignalState> {
        self.signals
    }

    /// Returns the time at which the keys were last fetched, if they are fetched. Of two key sets,
    /// the older one counts.
    #[must_use]
    pub fn keys_fetched_at(&self) -> Option<UnixTime> {
        self.keys_fetched_at.map(Moment::wall)
    }

    /// Returns how many key IDs were looked up without success in the last minute.
    #[must_use]
    pub fn unknown_keys(&self) -> usize {
        self.unknown_keys
    }

    /// Returns the time since the keys were fetched, by the clock that saw more time pass.
    pub(crate) fn keys_age(&self, now: Moment) -> Option<Duration> {
        self.keys_fetched_at.map(|at| now.since(at))
    }

    /// Returns how long ago the last call ended, and for how long all fetches have failed.
    pub(crate) fn ages(&self, now: Moment) -> (Option<Duration>, Option<Duration>) {
        let last = self.last_call.map(|last| now.since(last.ended));
        (last, self.failing.map(|(_, since)| now.since(since)))
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("issuer", &self.issuer)
            .field("ready", &self.ready)
            .field("failure", &self.failure())
            .field("failing_since", &self.failing_since())
            .field("reachable", &self.is_reachable())
            .field("breaker", &self.breaker)
            .field("server", &self.server)
            .finish()
    }
}
