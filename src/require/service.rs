use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{future::ResponseFuture, require_layer::RequireLayer};
use crate::respond::{
    refused_body::refusing::{Judged, PolledCall, Refused, Refusing},
    responder::{Auto, Respond},
};

/// The service of a [`RequireLayer`].
pub struct Require<S, R = Auto> {
    inner: S,
    layer: RequireLayer<R>,
}

impl<S, R> Require<S, R> {
    pub(super) const fn new(inner: S, layer: RequireLayer<R>) -> Self {
        Self { inner, layer }
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

impl<S, R, ReqB, ResB> Service<Request<ReqB>> for Require<S, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    R: Respond<ResB>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        match self.call_or_refuse(request) {
            Judged::Admitted(future) => future,
            Judged::Refused(Refused { response, .. }) => ResponseFuture::answered(response),
        }
    }
}

impl<S, R, ReqB, ResB> Refusing<ReqB> for Require<S, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    R: Respond<ResB>,
{
    fn call_or_refuse(
        &mut self,
        mut request: Request<ReqB>,
    ) -> Judged<Self::Future, S::Response, ReqB> {
        match self.layer.admit(&mut request) {
            Ok(()) => Judged::Admitted(ResponseFuture::calling(self.inner.call(request))),
            Err(error) => {
                // Gives back what `poll_ready` reserved, as the inner service is not called.
                self.inner = self.inner.clone();
                Judged::Refused(Refused::of(request, |head| self.layer.refuse(error, head)))
            }
        }
    }

    fn poll_or_refuse(
        future: Pin<&mut Self::Future>,
        cx: &mut Context<'_>,
    ) -> PolledCall<S::Response, S::Error, ReqB> {
        future.poll(cx).map_ok(Judged::Admitted)
    }
}

impl<S: Clone, R> Clone for Require<S, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Require<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Require").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, R> Layer<S> for RequireLayer<R> {
    type Service = Require<S, R>;

    fn layer(&self, inner: S) -> Require<S, R> {
        Require::new(inner, self.clone())
    }
}
