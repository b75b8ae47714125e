//! The future of [`Introspect`](super::Introspect).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, header::CACHE_CONTROL};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{IntrospectLayer, admit::Presented};
use crate::{respond::Respond, verify::Verifier};

pin_project! {
    /// The response of the inner service, or the refusal.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the verification or the call of the inner service that is under way.
    pub struct ResponseFuture<S, V, R, ReqB>
    where
        S: Service<Request<ReqB>>,
        V: Verifier,
    {
        #[pin]
        state: State<S::Future, Waiting<S, V, R, ReqB>, S::Response>,
        private: bool,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, W, Res> {
        // The refusal, ready to be taken.
        Refused { response: Option<Res> },
        // The token is being verified, or the inner service made ready after that. Boxed, so that
        // requests whose token is verified at once don't move it around.
        Waiting { waiting: Pin<Box<W>> },
        // Polling the future from the call of the inner service.
        Calling { #[pin] future: F },
    }
}

pin_project! {
    /// A request whose token could not be verified at once.
    struct Waiting<S, V, R, ReqB>
    where
        V: Verifier,
    {
        #[pin]
        verification: Option<V::Future>,
        inner: S,
        shared: Arc<IntrospectLayer<V, R>>,
        request: Option<Request<ReqB>>,
        presented: Presented,
    }
}

impl<S, V, R, ReqB> ResponseFuture<S, V, R, ReqB>
where
    S: Service<Request<ReqB>>,
    V: Verifier,
{
    pub(super) const fn refused(response: S::Response) -> Self {
        Self { state: State::Refused { response: Some(response) }, private: false }
    }

    pub(super) const fn calling(future: S::Future, private: bool) -> Self {
        Self { state: State::Calling { future }, private }
    }

    pub(super) fn verifying(
        verification: V::Future,
        inner: S,
        shared: Arc<IntrospectLayer<V, R>>,
        request: Request<ReqB>,
        presented: Presented,
    ) -> Self {
        let waiting = Waiting {
            verification: Some(verification),
            inner,
            shared,
            request: Some(request),
            presented,
        };
        let private = presented.private();
        Self { state: State::Waiting { waiting: Box::pin(waiting) }, private }
    }
}

impl<S, V, R, ReqB, ResB> Future for ResponseFuture<S, V, R, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    V: Verifier,
    R: Respond<ResB>,
{
    type Output = Result<Response<ResB>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Refused { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after completion")));
                }
                StateProj::Waiting { waiting } => {
                    let next = match ready!(waiting.as_mut().poll_called(cx))? {
                        Ok(future) => State::Calling { future },
                        Err(refusal) => State::Refused { response: Some(refusal) },
                    };
                    this.state.set(next);
                }
                StateProj::Calling { future } => {
                    let mut response = ready!(future.poll(cx))?;
                    if *this.private && response.status().is_success() {
                        let private = HeaderValue::from_static("private");
                        response.headers_mut().entry(CACHE_CONTROL).or_insert(private);
                    }
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

impl<S, V, R, ReqB, ResB> Waiting<S, V, R, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    V: Verifier,
    R: Respond<ResB>,
{
    /// Verifies the token, waits for the inner service, and calls it; or else gives the refusal.
    #[expect(clippy::type_complexity, reason = "names the future and the refusal as they are")]
    fn poll_called(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Result<S::Future, Response<ResB>>, S::Error>> {
        let mut this = self.project();
        if let Some(verification) = this.verification.as_mut().as_pin_mut() {
            let outcome = ready!(verification.poll(cx));
            this.verification.set(None);
            let request = this.request.as_mut().expect("polled after completion");
            if let Err(error) = this.shared.admit(outcome, None, *this.presented, request) {
                return Poll::Ready(Ok(Err(this.shared.refuse(&error, request))));
            }
        }
        // The readiness of the inner service was given up before the verification.
        ready!(this.inner.poll_ready(cx))?;
        let request = this.request.take().expect("polled after completion");
        Poll::Ready(Ok(Ok(this.inner.call(request))))
    }
}

impl<S, V, R, ReqB> fmt::Debug for ResponseFuture<S, V, R, ReqB>
where
    S: Service<Request<ReqB>>,
    V: Verifier,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
