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
    admit::{AdmitResult, Admitter, Presentation},
    edits::ResponseEdits,
    span::DecisionSpan,
};
use crate::{
    error::refusal::VerifyError, policy::replay_check::ReplayCheckFuture,
    respond::responder::Respond, verify::verifier::Verifier,
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

pin_project! {
    /// A request that could not be decided at once.
    struct Waiting<S, V, R, ReqB>
    where
        V: Verifier,
    {
        #[pin]
        stage: Stage<V::Future>,
        inner: S,
        admitter: Arc<Admitter<V, R>>,
        request: Option<Request<ReqB>>,
        presentation: Presentation,
        edits: ResponseEdits,
        // The span of the wait, until there is a decision.
        span: Option<DecisionSpan>,
    }
}

pin_project! {
    /// The step that a waiting request is at.
    #[project = StageProj]
    pub(super) enum Stage<F> {
        // The token is being verified.
        Verifying { #[pin] verification: F },
        // A store looks up whether the proof was used before.
        CheckingReplay { replay_check: ReplayCheckFuture },
        // The request is admitted, and the inner service is not ready yet.
        Admitted,
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

    pub(super) fn waiting(
        stage: Stage<V::Future>,
        inner: S,
        admitter: Arc<Admitter<V, R>>,
        request: Request<ReqB>,
        presentation: Presentation,
    ) -> Self {
        let (request, edits) = (Some(request), ResponseEdits::default());
        let span = Some(DecisionSpan::begin());
        let waiting = Waiting { stage, inner, admitter, request, presentation, edits, span };
        let state = State::Waiting { waiting: Box::pin(waiting) };
        Self { state, edits: ResponseEdits::default() }
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
                    let next = match ready!(waiting.as_mut().poll_decision(cx))? {
                        WaitResult::Called(future, edits) => {
                            *this.edits = edits;
                            State::Calling { future }
                        }
                        WaitResult::Refused(response) => {
                            State::Refused { response: Some(response) }
                        }
                    };
                    this.state.set(next);
                }
                StateProj::Calling { future } => {
                    if this.edits.is_empty() {
                        return future.poll(cx);
                    }
                    let mut response = ready!(future.poll(cx))?;
                    this.edits.apply(&mut response);
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

/// The result of waiting for a decision.
enum WaitResult<S: Service<Request<ReqB>>, ReqB> {
    /// The request is admitted, and the inner service was called.
    Called(S::Future, ResponseEdits),
    Refused(S::Response),
}

impl<S, V, R, ReqB, ResB> Waiting<S, V, R, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    V: Verifier,
    R: Respond<ResB>,
{
    /// Decides on the request, waits for the inner service and calls it, or returns the refusal.
    fn poll_decision(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<WaitResult<S, ReqB>, S::Error>> {
        let mut this = self.project();
        loop {
            let decision = {
                // Dropped at the end of this step, on every path.
                let _entered = this.span.as_ref().map(DecisionSpan::enter);
                let decision = match this.stage.as_mut().project() {
                    StageProj::Verifying { verification } => {
                        let outcome = ready!(verification.poll(cx));
                        let request = this.request.as_mut().expect("polled after completion");
                        match this.admitter.admit(outcome, this.presentation, request) {
                            AdmitResult::Done(decision) => decision,
                            AdmitResult::Pending(replay_check) => {
                                this.stage.set(Stage::CheckingReplay { replay_check });
                                continue;
                            }
                        }
                    }
                    StageProj::CheckingReplay { replay_check } => {
                        let admission = ready!(Pin::new(replay_check).poll(cx));
                        let request = this.request.as_mut().expect("polled after completion");
                        this.admitter.finish_admission(admission, this.presentation, request)
                    }
                    StageProj::Admitted => {
                        // The service is a clone that never was ready: `Introspect::release` made
                        // it.
                        ready!(this.inner.poll_ready(cx))?;
                        let request = this.request.take().expect("polled after completion");
                        let edits = std::mem::take(this.edits);
                        let future = this.inner.call(request);
                        return Poll::Ready(Ok(WaitResult::Called(future, edits)));
                    }
                };
                decision.map_err(|error| {
                    let request = this.request.as_ref().expect("polled after completion");
                    let refusal = this.admitter.refuse(&error, Some(this.presentation), request);
                    (error, refusal)
                })
            };
            match decision {
                Ok(edits) => {
                    *this.edits = edits;
                    end_span(this.span, None, this.request.as_ref());
                    this.stage.set(Stage::Admitted);
                }
                Err((error, refusal)) => {
                    end_span(this.span, Some(&error), this.request.as_ref());
                    return Poll::Ready(Ok(WaitResult::Refused(refusal)));
                }
            }
        }
    }
}

/// Ends the span of the wait with the verdict.
fn end_span<B>(
    span: &mut Option<DecisionSpan>,
    refused: Option<&VerifyError>,
    request: Option<&Request<B>>,
) {
    if let (Some(span), Some(request)) = (span.take(), request) {
        span.end(refused, request.extensions());
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
