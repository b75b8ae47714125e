//! Requirements that are tried out before they are enforced.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::Extensions;

use super::verified::Observed;
use crate::{error::refusal::VerifyError, telemetry};

/// Tells what a requirement would refuse, before it does.
///
/// A requirement that is observed ([`Policy::observe`](crate::Policy::observe),
/// [`RequireLayer::observe`](crate::require::RequireLayer::observe)) decides and lets the request pass.
/// What it would have refused is counted here, reported as an event, and found with the request
/// ([`Observer::reports`]).
///
/// Only requirements can be observed. Signature, issuer, time, audience and binding of a token are
/// judged before, and there is no way to have them observed.
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
/// Clones count together.
#[derive(Clone)]
pub struct Observer(Arc<Counts>);

struct Counts {
    name: Box<str>,
    met: AtomicU64,
    refused: AtomicU64,
}

impl Observer {
    /// Nothing was observed yet. The name is shown in events.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let (met, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Counts { name: name.into(), met, refused }))
    }

    /// What this is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many requests met the requirement.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.0.met.load(Ordering::Relaxed)
    }

    /// How many requests it would have refused.
    #[must_use]
    pub fn would_have_refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// With what the request would have been refused, by each observed requirement.
    pub fn reports(extensions: &Extensions) -> impl Iterator<Item = &VerifyError> {
        Observed::of(extensions).into_iter().flat_map(Observed::iter)
    }

    /// Takes an outcome down; gives what is to be left with the request.
    pub(crate) fn note(&self, outcome: Result<(), VerifyError>) -> Option<VerifyError> {
        let Err(error) = outcome else {
            self.0.met.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        telemetry::would_have_refused(self.name(), &error);
        Some(error)
    }

    /// The same, for a request that is past the policy.
    pub(crate) fn note_in(&self, outcome: Result<(), VerifyError>, extensions: &mut Extensions) {
        if let (Some(error), Some(reports)) = (self.note(outcome), Observed::of_mut(extensions)) {
            reports.push(error);
        }
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
