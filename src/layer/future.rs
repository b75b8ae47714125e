//! The future of [`Introspect`](super::Introspect).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    admit::Admitter,
    edits::ResponseEdits,
    waiting::{WaitResult, Waiting},
};
use crate::{
    credentials::token::Scheme,
    respond::{
        inner_refusal::InnerRefusal,
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
        state: State<S::Future, Waiting<S, V, R, ReqB>, S::Response, Arc<Admitter<V, R>>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, W, Res, A> {
        // The request is refused, and the response is ready to be taken.
        Refused { response: Option<Res> },
        // The token is being verified, or the inner service is being made ready after that. Boxed,
        // so that requests whose token is verified at once do not move it around.
        Waiting { waiting: Pin<Box<W>> },
        // The inner service was called. The scheme is that of the token, and stands here because it
        // then takes no space.
        Calling { #[pin] future: F, admitter: A, edits: ResponseEdits, scheme: Option<Scheme> },
    }
}

impl<S, V, R, ReqB> ResponseFuture<S, V, R, ReqB>
where
    S: Service<Request<ReqB>>,
    V: Verifier,
{
    pub(super) const fn refused(response: S::Response) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    #[inline]
    pub(super) const fn calling(
        future: S::Future,
        admitter: Arc<Admitter<V, R>>,
        edits: ResponseEdits,
        scheme: Option<Scheme>,
    ) -> Self {
        Self { state: State::Calling { future, admitter, edits, scheme } }
    }

    pub(super) fn waiting(waiting: Waiting<S, V, R, ReqB>) -> Self {
        Self { state: State::Waiting { waiting: Box::pin(waiting) } }
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
                        WaitResult::Called { future, edits, scheme } => {
                            let admitter = Arc::clone(waiting.admitter());
                            let scheme = Some(scheme);
                            this.state.set(State::Calling { future, admitter, edits, scheme });
                        }
                        WaitResult::Refused(refused) => {
                            return Poll::Ready(Ok(Judged::Refused(refused)));
                        }
                    }
                }
                StateProj::Calling { future, admitter, edits, scheme } => {
                    let mut response = ready!(future.poll(cx))?;
                    if InnerRefusal::is_in(response.extensions()) {
                        admitter.refuse_again(&mut response, edits, *scheme);
                    }
                    edits.apply(&mut response);
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
