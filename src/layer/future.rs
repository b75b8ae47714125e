//! The future of [`Introspect`](super::Introspect).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    edits::ResponseEdits,
    waiting::{WaitResult, Waiting},
};
use crate::{
    respond::{
        refused_body::refusing::{Judged, PolledCall, Refused},
        responder::Respond,
    },
    verify::verifier::Verifier,
};

pin_project! {
    /// The future of [`Introspect`](super::Introspect): the response of the inner service, or the
    /// refusal.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the verification or the call of the inner service that is in progress.
    pub struct ResponseFuture<S, V, R, ReqB>
    where
        S: Service<Request<ReqB>>,
        V: Verifier,
    {
        #[pin]
        state: State<S::Future, Waiting<S, V, R, ReqB>, S::Response>,
        edits: ResponseEdits,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, W, Res> {
        // The request is refused, and the response is ready to be taken.
        Refused { response: Option<Res> },
        // The token is being verified, or the inner service is being made ready after that. Boxed,
        // so that requests whose token is verified at once do not move it around.
        Waiting { waiting: Pin<Box<W>> },
        // The inner service was called.
        Calling { #[pin] future: F },
    }
}

impl<S, V, R, ReqB> ResponseFuture<S, V, R, ReqB>
where
    S: Service<Request<ReqB>>,
    V: Verifier,
{
    pub(super) fn refused(response: S::Response) -> Self {
        let state = State::Refused { response: Some(response) };
        Self { state, edits: ResponseEdits::default() }
    }

    #[inline]
    pub(super) const fn calling(future: S::Future, edits: ResponseEdits) -> Self {
        Self { state: State::Calling { future }, edits }
    }

    pub(super) fn waiting(waiting: Waiting<S, V, R, ReqB>) -> Self {
        let state = State::Waiting { waiting: Box::pin(waiting) };
        Self { state, edits: ResponseEdits::default() }
    }
}

impl<S, V, R, ReqB, ResB> Future for ResponseFuture<S, V, R, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    V: Verifier,
    R: Respond<ResB>,
{
    type Output = Result<Response<ResB>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match ready!(self.poll_judged(cx))? {
            Judged::Admitted(response) | Judged::Refused(Refused { response, .. }) => response,
        }))
    }
}

impl<S, V, R, ReqB, ResB> ResponseFuture<S, V, R, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    V: Verifier,
    R: Respond<ResB>,
{
    /// Polls, and returns the request with the response if it is refused after a wait.
    #[inline]
    pub(super) fn poll_judged(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> PolledCall<Response<ResB>, S::Error, ReqB> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Refused { response } => {
                    let response = response.take().expect("polled after completion");
                    return Poll::Ready(Ok(Judged::Admitted(response)));
                }
                StateProj::Waiting { waiting } => {
                    match ready!(waiting.as_mut().poll_decision(cx))? {
                        WaitResult::Called(future, edits) => {
                            *this.edits = edits;
                            this.state.set(State::Calling { future });
                        }
                        WaitResult::Refused(refused) => {
                            return Poll::Ready(Ok(Judged::Refused(refused)));
                        }
                    }
                }
                StateProj::Calling { future } => {
                    if this.edits.is_empty() {
                        return future.poll(cx).map_ok(Judged::Admitted);
                    }
                    let mut response = ready!(future.poll(cx))?;
                    this.edits.apply(&mut response);
                    return Poll::Ready(Ok(Judged::Admitted(response)));
                }
            }
        }
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
