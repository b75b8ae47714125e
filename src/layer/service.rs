use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    admit::{Admitter, Identification, Presentation},
    future::ResponseFuture,
    introspect_layer::IntrospectLayer,
    waiting::{Stage, Waiting},
};
use crate::{
    error::refusal::VerifyError,
    respond::{
        refused_body::refusing::{Judged, PolledCall, Refused, Refusing},
        responder::{Auto, Respond},
    },
    verify::verifier::Verifier,
};

/// The service of an [`IntrospectLayer`].
///
/// # Backpressure
///
/// The service is ready when the inner service is. While a token is being verified, it gives up the
/// readiness of the inner service, and acquires it again afterwards. Requests whose token is not
/// verified yet, or is refused, hold no permit of the inner service.
///
/// The inner service is never called on a decision that is older than a second. A request that
/// waited for longer, for readiness or for a store of used proofs, is decided anew on the facts of
/// now: by the cache if it has them, otherwise by another verification, in which the readiness is
/// given up again. A request that is decided a fourth time and still finds the service not ready in
/// time is refused with 503.
///
/// # Clone
///
/// Clones share the verifier. A request whose token is verified at once does not clone the inner
/// service.
pub struct Introspect<S, V, R = Auto> {
    inner: S,
    admitter: Arc<Admitter<V, R>>,
}

impl<S, V> Introspect<S, V> {
    /// Creates the layer that makes this service.
    ///
    /// ```
    /// use tower_introspect::{
    ///     ErrorKind, Policy,
    ///     layer::Introspect,
    ///     verify::{BoxVerifier, verify_fn},
    /// };
    ///
    /// let closed = BoxVerifier::new(verify_fn(async |_| Err(ErrorKind::Inactive.into())));
    /// let layer = Introspect::<(), _>::layer(closed, Policy::new("https://api.example.com"));
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn layer(verifier: V, policy: crate::policy::settings::Policy) -> IntrospectLayer<V> {
        IntrospectLayer::new(verifier, policy)
    }
}

impl<S, V, R> Introspect<S, V, R> {
    pub(super) const fn new(inner: S, admitter: Arc<Admitter<V, R>>) -> Self {
        Self { inner, admitter }
    }

    /// Returns a reference to the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Consumes the service and returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, V, R, ReqB, ResB> Service<Request<ReqB>> for Introspect<S, V, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    V: Verifier,
    R: Respond<ResB>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, V, R, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        match self.start(request) {
            Judged::Admitted(future) => future,
            Judged::Refused(Refused { response, .. }) => ResponseFuture::refused(response),
        }
    }
}

impl<S, V, R, ReqB, ResB> Refusing<ReqB> for Introspect<S, V, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    V: Verifier,
    R: Respond<ResB>,
{
    fn call_or_refuse(
        &mut self,
        request: Request<ReqB>,
    ) -> Judged<Self::Future, S::Response, ReqB> {
        self.start(request)
    }

    fn poll_or_refuse(
        future: Pin<&mut Self::Future>,
        cx: &mut Context<'_>,
    ) -> PolledCall<S::Response, S::Error, ReqB> {
        future.poll_judged(cx)
    }
}

impl<S: Clone, V, R> Introspect<S, V, R> {
    /// Decides on a request and calls the inner service, or waits for what it takes to decide, or
    /// refuses the request at once.
    #[inline]
    fn start<ReqB, ResB>(
        &mut self,
        mut request: Request<ReqB>,
    ) -> Judged<ResponseFuture<S, V, R, ReqB>, S::Response, ReqB>
    where
        S: Service<Request<ReqB>, Response = Response<ResB>>,
        V: Verifier,
        R: Respond<ResB>,
    {
        let admitter = &self.admitter;
        admitter.prepare(&mut request);
        let (edits, scheme) = match admitter.identify(&request) {
            Ok(Identification::Verified(outcome, presentation)) => {
                match admitter.admit(outcome, &presentation, &mut request) {
                    Ok(Ok(edits)) => (edits, Some(presentation.scheme())),
                    Ok(Err(error)) => {
                        return self.refuse(&error, Some(&presentation), request);
                    }
                    Err(replay_check) => {
                        let decided_at = admitter.now();
                        let (inner, admitter) = self.release();
                        return Judged::Admitted(ResponseFuture::waiting(Waiting::new(
                            Stage::CheckingReplay { replay_check },
                            decided_at,
                            inner,
                            admitter,
                            request,
                            presentation,
                        )));
                    }
                }
            }
            Ok(Identification::Verifying(verification, started_at, presentation)) => {
                let (inner, admitter) = self.release();
                return Judged::Admitted(ResponseFuture::waiting(Waiting::new(
                    Stage::Verifying { verification },
                    started_at,
                    inner,
                    admitter,
                    request,
                    presentation,
                )));
            }
            Ok(Identification::Anonymous) => (admitter.admit_anonymous(&mut request), None),
            Err(error) => return self.refuse(&error, None, request),
        };
        let admitter = Arc::clone(admitter);
        let future = self.inner.call(request);
        Judged::Admitted(ResponseFuture::calling(future, admitter, edits, scheme))
    }

    /// Gives up the readiness that `poll_ready` reserved, and returns an inner service without any.
    ///
    /// A clone does not share the readiness of the original (see "Be careful when cloning inner
    /// services" in `tower_service::Service`), and dropping the original gives back what it held.
    /// Moving the original into the future would let unverified requests hold the permits of a
    /// `ConcurrencyLimit` below. Leaving it in place would deadlock a limit of one permit.
    fn release(&mut self) -> (S, Arc<Admitter<V, R>>) {
        let unready = self.inner.clone();
        self.inner = unready.clone();
        (unready, Arc::clone(&self.admitter))
    }

    fn refuse<F, ReqB, ResB>(
        &mut self,
        error: &VerifyError,
        presentation: Option<&Presentation>,
        request: Request<ReqB>,
    ) -> Judged<F, Response<ResB>, ReqB>
    where
        R: Respond<ResB>,
    {
        // A connection that idles after a refusal must not keep a permit.
        self.inner = self.inner.clone();
        let response = self.admitter.refuse(error, presentation, &request);
        Judged::Refused(Refused::of(request, |_| response))
    }
}

impl<S: Clone, V, R> Clone for Introspect<S, V, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), admitter: Arc::clone(&self.admitter) }
    }
}

impl<S: fmt::Debug, V, R> fmt::Debug for Introspect<S, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspect").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, V, R> Layer<S> for IntrospectLayer<V, R> {
    type Service = Introspect<S, V, R>;

    fn layer(&self, inner: S) -> Introspect<S, V, R> {
        Introspect::new(inner, Arc::new(Admitter::new(self)))
    }
}
