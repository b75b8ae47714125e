use std::{fmt, sync::Arc};

use crate::{
    clock::{Moment, UnixTime},
    error::ErrorKind,
};

/// Whether the tokens of an issuer can be verified, as far as that can be told without asking it.
///
/// What is fetched is fetched when it is first needed, so a service that has seen no token yet and
/// was not warmed is not ready, with nothing wrong. And an issuer that can't be reached may well be
/// ready, for as long as what was fetched last may be used: then there is a
/// [`failure`](Self::failure) all the same.
///
/// For dashboards and for those who deploy. A health check that fails with this would take a service
/// down for the outage of another one.
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
}

impl Readiness {
    /// An issuer about which nothing has to be fetched.
    pub(crate) fn given(issuer: impl Into<Arc<str>>) -> Self {
        Self { issuer: issuer.into(), ready: true, failing: None }
    }

    pub(crate) fn new(
        issuer: impl Into<Arc<str>>,
        ready: bool,
        failing: Option<(ErrorKind, Moment)>,
    ) -> Self {
        Self { issuer: issuer.into(), ready, failing }
    }

    /// Both this and `other`, of the same issuer. Of two failures the older one shows.
    pub(crate) fn and(self, other: &Self) -> Self {
        let failing = match (self.failing, other.failing) {
            (Some(one), Some(two)) if two.1.wall() < one.1.wall() => Some(two),
            (one, two) => one.or(two),
        };
        Self { ready: self.ready && other.ready, failing, ..self }
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
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("issuer", &self.issuer)
            .field("ready", &self.ready)
            .field("failure", &self.failure())
            .field("failing_since", &self.failing_since())
            .finish()
    }
}
