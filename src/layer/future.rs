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
    admit::{AdmitResult, Closing, Presentation},
    introspect_layer::IntrospectLayer,
    slow::Slow,
};
use crate::{
    error::refusal::VerifyError, policy::admit::AdmittingFuture, respond::responder::Respond,
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
        closing: Closing,
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
        shared: Arc<IntrospectLayer<V, R>>,
        request: Option<Request<ReqB>>,
        presentation: Presentation,
        closing: Closing,
        // The span of the verification, until there is a verdict.
        slow: Option<Slow>,
    }
}

pin_project! {
    /// The step that a waiting request is at.
    #[project = StageProj]
    pub(super) enum Stage<F> {
        // The token is being verified.
        Verifying { #[pin] verification: F },
        // A store looks up whether the proof was used before.
        Admitting { admitting: AdmittingFuture },
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
        Self { state, closing: Closing::default() }
    }

    #[inline]
    pub(super) const fn calling(future: S::Future, closing: Closing) -> Self {
        Self { state: State::Calling { future }, closing }
    }

    pub(super) fn waiting(
        stage: Stage<V::Future>,
        inner: S,
        shared: Arc<IntrospectLayer<V, R>>,
        request: Request<ReqB>,
        presentation: Presentation,
    ) -> Self {
        let (request, closing) = (Some(request), Closing::default());
        let slow = Some(Slow::begin());
        let waiting = Waiting { stage, inner, shared, request, presentation, closing, slow };
        let state = State::Waiting { waiting: Box::pin(waiting) };
        Self { state, closing: Closing::default() }
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
                        Ok((future, closing)) => {
                            *this.closing = closing;
                            State::Calling { future }
                        }
                        Err(refusal) => State::Refused { response: Some(refusal) },
                    };
                    this.state.set(next);
                }
                StateProj::Calling { future } => {
                    if this.closing.is_nothing() {
                        return future.poll(cx);
                    }
                    let mut response = ready!(future.poll(cx))?;
                    this.closing.close(&mut response);
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
    /// Decides on the request, waits for the inner service and calls it, or returns the refusal.
    #[expect(clippy::type_complexity, reason = "names the future and the refusal as they are")]
    fn poll_called(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Result<(S::Future, Closing), Response<ResB>>, S::Error>> {
        let mut this = self.project();
        loop {
            let verdict = {
                // Dropped at the end of this step, on every path.
                let _slow = this.slow.as_ref().map(Slow::enter);
                let verdict = match this.stage.as_mut().project() {
                    StageProj::Verifying { verification } => {
                        let outcome = ready!(verification.poll(cx));
                        let request = this.request.as_mut().expect("polled after completion");
                        match this.shared.admit(outcome, None, this.presentation, request) {
                            AdmitResult::Now(verdict) => verdict,
                            AdmitResult::Later(admitting) => {
                                this.stage.set(Stage::Admitting { admitting });
                                continue;
                            }
                        }
                    }
                    StageProj::Admitting { admitting } => {
                        let admission = ready!(Pin::new(admitting).poll(cx));
                        let request = this.request.as_mut().expect("polled after completion");
                        this.shared.finish_admission(admission, this.presentation, request)
                    }
                    StageProj::Admitted => {
                        // The service is a clone that never was ready: `Introspect::release` made
                        // it.
                        ready!(this.inner.poll_ready(cx))?;
                        let request = this.request.take().expect("polled after completion");
                        let closing = std::mem::take(this.closing);
                        return Poll::Ready(Ok(Ok((this.inner.call(request), closing))));
                    }
                };
                verdict.map_err(|error| {
                    let request = this.request.as_ref().expect("polled after completion");
                    let refusal = this.shared.refuse(&error, Some(this.presentation), request);
                    (error, refusal)
                })
            };
            match verdict {
                Ok(closing) => {
                    *this.closing = closing;
                    end(this.slow, None, this.request.as_ref());
                }
                Err((error, refusal)) => {
                    end(this.slow, Some(&error), this.request.as_ref());
                    return Poll::Ready(Ok(Err(refusal)));
                }
            }
            this.stage.set(Stage::Admitted);
        }
    }
}

/// Closes the span of the verification with its outcome.
fn end<B>(slow: &mut Option<Slow>, refused: Option<&VerifyError>, request: Option<&Request<B>>) {
    if let (Some(slow), Some(request)) = (slow.take(), request) {
        slow.end(refused, request.extensions());
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
