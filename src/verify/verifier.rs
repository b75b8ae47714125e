//! The contract of verification.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    active::ActiveToken,
    request::{CacheLookup, VerifyRequest},
};
use crate::error::refusal::VerifyError;

/// The outcome of a verification.
pub type Outcome = Result<ActiveToken, VerifyError>;

/// A verifier of tokens.
///
/// A verifier takes `&self` and has no readiness: under too much load it refuses with
/// [`Unavailable`](crate::ErrorKind::Unavailable). A verifier that has the outcome already returns
/// [`Verifying::done`]; the middleware then neither allocates a future nor clones its inner
/// service.
///
/// A verifier establishes facts only. It does not judge the audience, the time or the scope.
/// Otherwise a cache between two policies would carry the decision of one over to the other.
///
/// # Cancellation
///
/// The future may be dropped at any point, because the client went away. Dropping it must not cost
/// another request its outcome.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Verifier`",
    label = "not a verifier",
    note = "wrap a `tower::Service<VerifyRequest>` in `verify::FromService`, an async closure in `verify::verify_fn`"
)]
pub trait Verifier {
    /// The future of an outcome that takes time.
    type Future: Future<Output = Outcome>;

    /// Verifies the token of `request`.
    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future>;

    /// Returns the outcome that [`verify`](Self::verify) would take from a cache without any
    /// further work, if there is one. Sends no request, and does not change the outcome of a later
    /// `verify`. Most tokens are cached; for those this saves the construction of a
    /// [`VerifyRequest`]. `benches/hit.rs` shows what that is worth.
    #[doc(hidden)]
    fn cached(&self, _: &CacheLookup<'_>) -> Option<Outcome> {
        None
    }
}

impl<V: Verifier + ?Sized> Verifier for Arc<V> {
    type Future = V::Future;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        (**self).verify(request)
    }

    fn cached(&self, request: &CacheLookup<'_>) -> Option<Outcome> {
        (**self).cached(request)
    }
}

pin_project! {
    /// A verification: decided already, or under way.
    ///
    /// It is a future. [`now_or_later`](Self::now_or_later) takes an outcome that is already there
    /// without waiting.
    #[must_use = "a verification does nothing unless polled"]
    pub struct Verifying<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Done { outcome: Option<Outcome> },
        Pending { #[pin] future: F },
    }
}

impl<F> Verifying<F> {
    /// Creates a verification that is decided.
    pub const fn done(outcome: Outcome) -> Self {
        Self { state: State::Done { outcome: Some(outcome) } }
    }

    /// Creates a verification that takes time.
    pub const fn pending(future: F) -> Self {
        Self { state: State::Pending { future } }
    }

    /// Returns the outcome if it is there, or else the future to wait for.
    ///
    /// # Errors
    ///
    /// Returns the future as `Err` if the verification is under way. This is not a failure.
    ///
    /// # Panics
    ///
    /// Panics if the outcome was already taken by polling.
    pub fn now_or_later(self) -> Result<Outcome, F> {
        match self.state {
            State::Done { outcome } => Ok(outcome.expect("polled after completion")),
            State::Pending { future } => Err(future),
        }
    }

    /// Maps the future to another type. A decided outcome is unchanged.
    pub fn map_future<G>(self, wrap: impl FnOnce(F) -> G) -> Verifying<G> {
        match self.state {
            State::Done { outcome } => Verifying { state: State::Done { outcome } },
            State::Pending { future } => Verifying::pending(wrap(future)),
        }
    }
}

impl<F: Future<Output = Outcome>> Future for Verifying<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.project().state.project() {
            StateProj::Done { outcome } => {
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

/// Creates a [`Verifier`] from an async closure. See the [module docs](super).
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
