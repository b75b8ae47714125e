//! Trial runs of requirements before they are enforced.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{error::refusal::VerifyError, telemetry};

/// A counter for a requirement that is evaluated but not enforced.
///
/// An observed requirement ([`Policy::observe`](crate::Policy::observe),
/// [`RequireLayer::observe`](crate::require::RequireLayer::observe)) is evaluated, but the request
/// passes. The observer counts each request that it would have refused, emits an event, and stores
/// the error with the request ([`Observer::reports`]).
///
/// # Security
///
/// Only requirements can be observed. Signature, issuer, time, audience and binding of a token are
/// checked before and are always enforced.
///
/// ```
/// use tower_introspect::{
///     Policy,
///     claims::Claims,
///     clock::{Moment, SystemClock},
///     credentials::Scheme,
///     policy::{Observer, Requirement},
///     verify::{ActiveToken, Method},
/// };
///
/// let trial = Observer::new("payments need a second factor");
/// let policy = Policy::new("https://api.example.com").observe(Requirement::any_acr(["mfa"]), &trial);
///
/// let claims = Claims::from_json(br#"{"aud": "https://api.example.com"}"#).unwrap();
/// let start = Moment::now(&SystemClock);
/// let active = ActiveToken::new("https://as.example.com", claims, Method::Custom, start);
/// assert!(policy.admit(active, Scheme::Bearer).is_ok());
/// assert_eq!((trial.met(), trial.would_have_refused()), (0, 1));
/// ```
///
/// # Clone
///
/// Clones share their counters.
#[derive(Clone)]
pub struct Observer(Arc<Counts>);

struct Counts {
    name: Box<str>,
    met: AtomicU64,
    refused: AtomicU64,
}

impl Observer {
    /// Creates an observer with counts of zero. Events carry the name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let (met, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Counts { name: name.into(), met, refused }))
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the number of requests that met the requirement.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.0.met.load(Ordering::Relaxed)
    }

    /// Returns the number of requests that the requirement would have refused.
    #[must_use]
    pub fn would_have_refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Counts an outcome, and returns the error to store with the request.
    pub(crate) fn note(&self, outcome: Result<(), VerifyError>) -> Option<VerifyError> {
        let Err(error) = outcome else {
            self.0.met.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        telemetry::report::would_have_refused(self.name(), &error);
        Some(error)
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("name", &self.name())
            .field("met", &self.met())
            .field("would_have_refused", &self.would_have_refused())
            .finish()
    }
}
