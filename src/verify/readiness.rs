use std::{fmt, sync::Arc, time::Duration};

use super::stats::BreakerState;
use crate::{
    clock::{Moment, UnixTime},
    error::kind::ErrorKind,
    transport::upstream::LastCall,
};

/// Whether the tokens of an issuer can be verified, as far as that can be told without asking it.
///
/// What is fetched is fetched when it is first needed, so a service that has seen no token yet and
/// was not warmed is not ready, with nothing wrong. And an issuer that can't be reached may well be
/// ready, for as long as what was fetched last may be used: then there is a
/// [`failure`](Self::failure) all the same.
///
/// Ready means that a good token of the issuer would be let in, as far as that depends on what was fetched.
/// Whether the authorization server answers now is told besides ([`is_reachable`](Self::is_reachable),
/// [`breaker`](Self::breaker)), and is no part of it: tokens that are remembered are let in without it, and
/// a load balancer that goes by it would take all of a service down for the outage of another one.
///
/// ```
/// use tower_introspect::jwt::{Algorithm, JwtVerifier, KeySet};
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
    last: Option<LastCall>,
    breaker: Option<BreakerState>,
    keys_at: Option<Moment>,
    unknown_keys: usize,
}

impl Readiness {
    /// An issuer about which nothing has to be fetched.
    pub(crate) fn given(issuer: impl Into<Arc<str>>) -> Self {
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
            last: None,
            breaker: None,
            keys_at: None,
            unknown_keys: 0,
        }
    }

    /// The same, with keys that are fetched.
    pub(crate) fn with_keys(mut self, fetched_at: Option<Moment>, unknown: usize) -> Self {
        (self.keys_at, self.unknown_keys) = (fetched_at, unknown);
        self
    }

    /// The same, with what came of a call of the server.
    pub(crate) fn with_last(mut self, last: Option<LastCall>) -> Self {
        self.last = last;
        self
    }

    /// The same, with what stands before the server.
    pub(crate) fn with_breaker(mut self, breaker: Option<BreakerState>) -> Self {
        self.breaker = breaker;
        self
    }

    /// Both this and `other`, of the same issuer. Of two failures the older one shows, of two sets of
    /// keys too, and of two calls the later one.
    pub(crate) fn and(self, other: &Self) -> Self {
        let failing = match (self.failing, other.failing) {
            (Some(one), Some(two)) if two.1.wall() < one.1.wall() => Some(two),
            (one, two) => one.or(two),
        };
        let keys_at = match (self.keys_at, other.keys_at) {
            (Some(one), Some(two)) if two.is_before(one) => Some(two),
            (one, two) => one.or(two),
        };
        Self {
            ready: self.ready && other.ready,
            failing,
            last: LastCall::later(self.last, other.last),
            keys_at,
            unknown_keys: self.unknown_keys + other.unknown_keys,
            breaker: self.breaker.max(other.breaker),
            ..self
        }
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether everything is there that its tokens are verified with.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// What is wrong, if the last attempt to fetch failed, or what it brought can't be used.
    #[must_use]
    pub fn failure(&self) -> Option<ErrorKind> {
        self.failing.map(|(kind, _)| kind)
    }

    /// Since when every attempt has failed.
    #[must_use]
    pub fn failing_since(&self) -> Option<UnixTime> {
        self.failing.map(|(_, since)| since.wall())
    }

    /// Whether the authorization server answered when it was last called, for whatever it was. `None` if
    /// it was not called yet.
    ///
    /// An answer out of protocol, or one that rejects this service, is an answer.
    #[must_use]
    pub fn is_reachable(&self) -> Option<bool> {
        self.last.map(|last| last.failure != Some(ErrorKind::Unavailable))
    }

    /// When the last call of the authorization server came to an end.
    #[must_use]
    pub fn last_call(&self) -> Option<UnixTime> {
        self.last.map(|last| last.ended.wall())
    }

    /// How that call failed, if it did. That a token is no good is no failure.
    #[must_use]
    pub fn last_call_failure(&self) -> Option<ErrorKind> {
        self.last.and_then(|last| last.failure)
    }

    /// The breaker before its introspection endpoint, if there is one.
    #[must_use]
    pub fn breaker(&self) -> Option<BreakerState> {
        self.breaker
    }

    /// When its keys were last fetched, if they are: of two sets, the older one.
    #[must_use]
    pub fn keys_fetched_at(&self) -> Option<UnixTime> {
        self.keys_at.map(Moment::wall)
    }

    /// How many names of keys were looked for in vain in the last minute.
    #[must_use]
    pub fn unknown_keys(&self) -> usize {
        self.unknown_keys
    }

    /// How long ago the keys were fetched, by whichever clock saw more time pass.
    pub(crate) fn keys_age(&self, now: Moment) -> Option<Duration> {
        self.keys_at.map(|at| now.since(at))
    }

    /// How long ago the last call ended, and since when all fetches have failed.
    pub(crate) fn ages(&self, now: Moment) -> (Option<Duration>, Option<Duration>) {
        let last = self.last.map(|last| now.since(last.ended));
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
            .finish()
    }
}
