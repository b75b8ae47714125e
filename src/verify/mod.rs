//! The contract of verification, and what composes it.
//!
//! A [`Verifier`] turns a token into an [`ActiveToken`], a *fact*: what an issuer vouches for, and
//! when it was established. Whether that is enough for this request is the business of the
//! [`Policy`](crate::Policy), which runs on every request, whatever the verifier remembered.
//!
//! ```
//! use tower_introspect::{
//!     ErrorKind, VerifyError,
//!     claims::Claims,
//!     clock::{Moment, SystemClock},
//!     verify::{ActiveToken, Method, Verifier, VerifyRequest, verify_fn},
//! };
//!
//! let verifier = verify_fn(|request: VerifyRequest| async move {
//!     if request.token().secret_str() != "letmein" {
//!         return Err(VerifyError::new(ErrorKind::Inactive));
//!     }
//!     let claims = Claims::from_json(br#"{"aud": "https://api.example.com"}"#).expect("strict JSON");
//!     let verified_at = Moment::now(&SystemClock);
//!     Ok(ActiveToken::new("https://as.example.com", claims, Method::Custom, verified_at))
//! });
//! # tokio_test::block_on(async {
//! let token = tower_introspect::credentials::Token::bearer("letmein").unwrap();
//! let active = verifier.verify(VerifyRequest::new(token)).await?;
//! assert_eq!(active.issuer(), "https://as.example.com");
//! # Ok::<(), VerifyError>(()) }).unwrap();
//! ```
//!
//! What stands around a verifier in a [`ResourceServer`](crate::ResourceServer), by hand:
//!
//! ```
//! # #[cfg(feature = "cache")] {
//! use tower::ServiceBuilder;
//! use tower_introspect::{
//!     ErrorKind,
//!     verify::{
//!         BulkheadLayer, CacheLayer, CircuitBreakerLayer, CoalesceLayer, RevocationLayer,
//!         Revocations, verify_fn,
//!     },
//! };
//!
//! let revocations = Revocations::new();
//! let verifier = ServiceBuilder::new()
//!     .layer(RevocationLayer::new(revocations.clone())) // outside of all that remembers
//!     .layer(CacheLayer::new().revocations(revocations))
//!     .layer(CoalesceLayer::new())
//!     .layer(BulkheadLayer::default())
//!     .layer(CircuitBreakerLayer::new())
//!     .service(verify_fn(async |_| Err(ErrorKind::Inactive.into())));
//! # let _ = verifier;
//! # }
//! ```

pub(crate) mod active;
pub(crate) mod boxed;
pub(crate) mod bridge;
pub(crate) mod readiness;
pub(crate) mod request;
pub(crate) mod stats;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

pub use self::{
    active::{ActiveToken, Method},
    boxed::BoxVerifier,
    bridge::{FromService, FromServiceLayer, IntoService, Oneshot},
    readiness::Readiness,
    request::{Freshness, RecallRequest, VerifyRequest},
    stats::{BreakerState, Stats},
};
use crate::{clock::Reading, error::VerifyError};

/// What a verification comes to.
pub type Outcome = Result<ActiveToken, VerifyError>;

/// Verifies tokens.
///
/// Takes `&self` and knows no readiness: a verifier that must not be asked too often refuses with
/// [`Unavailable`](crate::ErrorKind::Unavailable). What can be decided at once is decided at once
/// ([`Verifying::done`]): then the middleware neither allocates a future nor clones the service it
/// wraps.
///
/// A verifier establishes facts only. It does not judge the audience, the time or the scope; a
/// verifier that did would hand the decision of one policy to another as soon as something between
/// them remembers it.
///
/// # Cancellation
///
/// The future may be dropped at any point: the client went away. That must cost nobody else an
/// answer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Verifier`",
    label = "not a verifier",
    note = "wrap a `tower::Service<VerifyRequest>` in `verify::FromService`, an async closure in `verify::verify_fn`"
)]
pub trait Verifier {
    /// The answer, where it takes time.
    type Future: Future<Output = Outcome>;

    /// Verifies the token of `request`.
    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future>;

    /// What [`verify`](Self::verify) would answer from memory, if it would and nothing were to be done
    /// besides. Asks nobody, and takes nothing away from a `verify` that follows. For requests whose
    /// token is remembered, which is most of them, this spares making one.
    #[doc(hidden)]
    fn recall(&self, _: &RecallRequest<'_>) -> Option<Outcome> {
        None
    }
}

impl<V: Verifier + ?Sized> Verifier for Arc<V> {
    type Future = V::Future;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        (**self).verify(request)
    }

    fn recall(&self, request: &RecallRequest<'_>) -> Option<Outcome> {
        (**self).recall(request)
    }
}

pin_project! {
    /// A verification: decided at once, or under way.
    ///
    /// It is itself a future. A caller that wants to use what is there without waiting takes it
    /// with [`now_or_later`](Self::now_or_later).
    #[must_use = "a verification does nothing unless polled"]
    pub struct Verifying<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Done { outcome: Option<Outcome>, at: Option<Reading> },
        Pending { #[pin] future: F },
    }
}

impl<F> Verifying<F> {
    /// A verification that is decided.
    pub const fn done(outcome: Outcome) -> Self {
        Self { state: State::Done { outcome: Some(outcome), at: None } }
    }

    /// A verification that is decided, and when. Whoever asked goes on from there.
    pub(crate) const fn done_at(outcome: Outcome, at: Option<Reading>) -> Self {
        Self { state: State::Done { outcome: Some(outcome), at } }
    }

    /// When it was decided, if that was told. Not to be kept: it is *now* only for who asks now.
    pub(crate) const fn decided_at(&self) -> Option<Reading> {
        match &self.state {
            State::Done { at, .. } => *at,
            State::Pending { .. } => None,
        }
    }

    /// A verification that takes time.
    pub const fn pending(future: F) -> Self {
        Self { state: State::Pending { future } }
    }

    /// The outcome if it is there, or else the future to wait for.
    ///
    /// # Errors
    ///
    /// The `Err` case is no failure: it holds the future.
    ///
    /// # Panics
    ///
    /// If the outcome was already taken by polling.
    pub fn now_or_later(self) -> Result<Outcome, F> {
        match self.state {
            State::Done { outcome, .. } => Ok(outcome.expect("polled after completion")),
            State::Pending { future } => Err(future),
        }
    }

    /// Changes the type of the future, leaving what is decided as it is.
    pub fn map_future<G>(self, wrap: impl FnOnce(F) -> G) -> Verifying<G> {
        match self.state {
            State::Done { outcome, at } => Verifying { state: State::Done { outcome, at } },
            State::Pending { future } => Verifying::pending(wrap(future)),
        }
    }
}

impl<F: Future<Output = Outcome>> Future for Verifying<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.project().state.project() {
            StateProj::Done { outcome, .. } => {
                Poll::Ready(outcome.take().expect("polled after completion"))
            }
            StateProj::Pending { future } => future.poll(cx),
        }
    }
}

impl<F> fmt::Debug for Verifying<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Done { .. } => "Done",
            State::Pending { .. } => "Pending",
        };
        f.debug_tuple("Verifying").field(&state).finish()
    }
}

/// A [`Verifier`] from an async closure. See the [module docs](self).
pub const fn verify_fn<F, Fut>(verify: F) -> VerifyFn<F>
where
    F: Fn(VerifyRequest) -> Fut,
    Fut: Future<Output = Outcome>,
{
    VerifyFn { verify }
}

/// The [`Verifier`] made by [`verify_fn`].
#[derive(Clone, Copy)]
pub struct VerifyFn<F> {
    verify: F,
}

impl<F, Fut> Verifier for VerifyFn<F>
where
    F: Fn(VerifyRequest) -> Fut,
    Fut: Future<Output = Outcome>,
{
    type Future = Fut;

    fn verify(&self, request: VerifyRequest) -> Verifying<Fut> {
        Verifying::pending((self.verify)(request))
    }
}

impl<F> fmt::Debug for VerifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyFn").finish_non_exhaustive()
    }
}
