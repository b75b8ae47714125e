//! The services around an `Introspect`: one inside that takes the lease of the request, one outside
//! that guards the response by it.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Extensions, Method, Request, Response, Version, header::CONTENT_TYPE, request};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::requests::GuardRequest;
use crate::{
    lease::{body::GuardedBody, lease::Lease},
    respond::{
        inner_refusal::InnerRefusal,
        refused_body::refusing::{Judged, PolledCall, Refusing},
    },
};

/// The outer service of a [`StreamLayer`](super::StreamLayer). It guards the bodies of responses.
#[derive(Clone, Debug)]
pub struct GuardResponses<S> {
    inner: S,
}

impl<S> GuardResponses<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner }
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

impl<S, ReqB, ResB> Service<Request<ReqB>> for GuardResponses<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<GuardedBody<ResB>>;
    type Error = S::Error;
    type Future = GuardFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        GuardFuture { future: self.inner.call(request) }
    }
}

impl<S, ReqB, ResB> Refusing<ReqB> for GuardResponses<S>
where
    S: Refusing<ReqB> + Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes> + Send + 'static,
{
    fn call_or_refuse(
        &mut self,
        request: Request<ReqB>,
    ) -> Judged<Self::Future, Self::Response, ReqB> {
        match self.inner.call_or_refuse(request) {
            Judged::Admitted(future) => Judged::Admitted(GuardFuture { future }),
            Judged::Refused(refused) => Judged::Refused(refused.map(guard)),
        }
    }

    fn poll_or_refuse(
        future: Pin<&mut Self::Future>,
        cx: &mut Context<'_>,
    ) -> PolledCall<Self::Response, Self::Error, ReqB> {
        let judged = ready!(S::poll_or_refuse(future.project().future, cx))?;
        Poll::Ready(Ok(match judged {
            Judged::Admitted(response) => Judged::Admitted(guard(response)),
            Judged::Refused(refused) => Judged::Refused(refused.map(guard)),
        }))
    }
}

/// Guards the body of a response, if the response has a lease.
fn guard<B>(response: Response<B>) -> Response<GuardedBody<B>>
where
    B: Body + Send + 'static,
{
    let (mut head, body) = response.into_parts();
    let body = match head.extensions.remove::<Lease>() {
        Some(lease) => {
            if head.extensions.is_empty() {
                // Else an empty map lives for as long as the response.
                head.extensions = Extensions::new();
            }
            GuardedBody::of_response(lease, &head, body)
        }
        None => GuardedBody::plain(body),
    };
    Response::from_parts(head, body)
}

pin_project! {
    /// The future of [`GuardResponses`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the call of the inner service.
    pub struct GuardFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, ResB, E> Future for GuardFuture<F>
where
    F: Future<Output = Result<Response<ResB>, E>>,
    ResB: Body + Send + 'static,
{
    type Output = Result<Response<GuardedBody<ResB>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(guard(ready!(self.project().future.poll(cx))?)))
    }
}

impl<F> fmt::Debug for GuardFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardFuture").finish_non_exhaustive()
    }
}

/// The inner service of a [`StreamLayer`](super::StreamLayer). It guards the bodies of requests, and
/// passes their lease on with the response.
pub struct LeaseRequests<S, Q> {
    inner: S,
    requests: PhantomData<fn() -> Q>,
}

impl<S, Q> LeaseRequests<S, Q> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner, requests: PhantomData }
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

impl<S, Q, ReqB, ResB> Service<Request<ReqB>> for LeaseRequests<S, Q>
where
    Q: GuardRequest<ReqB>,
    S: Service<Request<Q::Body>, Response = Response<ResB>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = LeaseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (head, body) = request.into_parts();
        let lease = head.extensions.get::<Lease>().cloned();
        let body = Q::guard(lease.as_ref(), body);
        let future = self.inner.call(Request::from_parts(head, body));
        LeaseFuture { future, lease }
    }
}

impl<S: Clone, Q> Clone for LeaseRequests<S, Q> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<S: fmt::Debug, Q> fmt::Debug for LeaseRequests<S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseRequests").field("inner", &self.inner).finish()
    }
}

pin_project! {
    /// The future of [`LeaseRequests`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the call of the inner service.
    pub struct LeaseFuture<F> {
        #[pin]
        future: F,
        lease: Option<Lease>,
    }
}

impl<F, ResB, E> Future for LeaseFuture<F>
where
    F: Future<Output = Result<Response<ResB>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?;
        let Some(lease) = this.lease.take() else { return Poll::Ready(Ok(response)) };
        match lease.end() {
            // Nothing of the response is sent yet, so the client can be told properly.
            Some(end) => {
                let refusal = InnerRefusal::reported(end.to_refusal(), head_like(&response));
                response.extensions_mut().insert(refusal);
            }
            None => {
                response.extensions_mut().insert(lease);
            }
        }
        Poll::Ready(Ok(response))
    }
}

/// Returns the head of a request that tells the protocol of a response: gRPC or HTTP.
fn head_like<B>(response: &Response<B>) -> request::Parts {
    let mut head = Request::new(()).into_parts().0;
    if let Some(content_type) = response.headers().get(CONTENT_TYPE) {
        head.headers.insert(CONTENT_TYPE, content_type.clone());
    }
    // What gRPC is told by, besides its media type.
    (head.method, head.version) = (Method::POST, Version::HTTP_2);
    head
}

impl<F> fmt::Debug for LeaseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseFuture").finish_non_exhaustive()
    }
}
