//! Adapters between verifiers and tower services.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower::{load_shed, timeout, util};
use tower_service::Service;

use super::{
    active::ActiveToken,
    request::VerifyRequest,
    verifier::{Outcome, Verifier, Verifying},
};
use crate::error::{boxed::BoxError, chain::causes, kind::ErrorKind, refusal::VerifyError};

/// A [`Verifier`] from a [`tower::Service`].
///
/// Each verification drives a clone of the service to readiness and calls that same clone, so
/// `Timeout`, `Retry`, `ConcurrencyLimit`, `Buffer` and similar layers work as usual. A
/// [`VerifyError`] is passed on, however deeply it is boxed. Any other error means that the
/// verification could not be completed, and becomes [`Unavailable`](ErrorKind::Unavailable).
///
/// ```
/// use std::time::Duration;
/// use tower::{ServiceBuilder, service_fn};
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     verify::{ActiveToken, FromService, Verifier, VerifyRequest},
/// };
///
/// let verifier = ServiceBuilder::new()
///     .layer_fn(FromService::new)
///     .timeout(Duration::from_secs(3))
///     .service(service_fn(async |_: VerifyRequest| {
///         Err::<ActiveToken, _>(VerifyError::new(ErrorKind::Inactive))
///     }));
/// # tokio_test::block_on(async {
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// assert_eq!(verifier.verify(request).await.unwrap_err().kind(), ErrorKind::Inactive);
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FromService<S> {
    inner: S,
}

impl<S> FromService<S> {
    /// Creates a verifier that calls `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Verifier for FromService<S>
where
    S: Service<VerifyRequest, Response = ActiveToken> + Clone,
    S::Error: Into<BoxError>,
{
    type Future = Oneshot<S>;

    fn verify(&self, request: VerifyRequest) -> Verifying<Oneshot<S>> {
        Verifying::pending(Oneshot { inner: util::Oneshot::new(self.inner.clone(), request) })
    }
}

pin_project! {
    /// The future of [`FromService`]: waits for readiness, then for the outcome.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the clone of the service and everything that the clone had reserved.
    pub struct Oneshot<S: Service<VerifyRequest>> {
        #[pin]
        inner: util::Oneshot<S, VerifyRequest>,
    }
}

impl<S> Future for Oneshot<S>
where
    S: Service<VerifyRequest, Response = ActiveToken>,
    S::Error: Into<BoxError>,
{
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.project().inner.poll(cx).map_err(|error| into_verify_error(error.into()))
    }
}

impl<S: Service<VerifyRequest>> fmt::Debug for Oneshot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oneshot").finish_non_exhaustive()
    }
}

/// Finds the [`VerifyError`] inside an error that tower's layers erased.
fn into_verify_error(error: BoxError) -> VerifyError {
    let error = match error.downcast::<VerifyError>() {
        Ok(own) => return *own,
        Err(foreign) => foreign,
    };
    // `Buffer` and other layers wrap errors.
    if let Some(own) = causes(&*error).find_map(|cause| cause.downcast_ref::<VerifyError>()) {
        return own.clone();
    }
    let context = if error.is::<timeout::error::Elapsed>() {
        "the verification timed out"
    } else if error.is::<load_shed::error::Overloaded>() {
        "too many verifications are under way"
    } else {
        "the verification service failed"
    };
    VerifyError::new(ErrorKind::Unavailable).with_context(context).with_source(error)
}

/// A [`tower::Service`] from a [`Verifier`].
///
/// Always ready, because verifiers have no readiness.
///
/// ```
/// use tower::ServiceExt as _;
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     verify::{IntoService, VerifyRequest, verify_fn},
/// };
///
/// let service = IntoService::new(verify_fn(async |_| Err(VerifyError::new(ErrorKind::Inactive))));
/// # tokio_test::block_on(async {
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// assert_eq!(service.oneshot(request).await.unwrap_err().kind(), ErrorKind::Inactive);
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct IntoService<V> {
    verifier: V,
}

impl<V> IntoService<V> {
    /// Creates a service that responds with the outcomes of `verifier`.
    pub const fn new(verifier: V) -> Self {
        Self { verifier }
    }
}

impl<V: Verifier> Service<VerifyRequest> for IntoService<V> {
    type Response = ActiveToken;
    type Error = VerifyError;
    type Future = Verifying<V::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), VerifyError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: VerifyRequest) -> Self::Future {
        self.verifier.verify(request)
    }
}
