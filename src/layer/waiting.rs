//! A request that waits: for the verification of its token, for a store, for the inner service.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    admit::{Admitter, Decided, Identification, Presentation},
    decision_age::VerifiedForRequest,
    edits::ResponseEdits,
    span::DecisionSpan,
};
use crate::{
    clock::Moment,
    credentials::token::Scheme,
    error::{kind::ErrorKind, refusal::VerifyError},
    policy::replay_check::{Admission, ReplayCheckFuture},
    respond::{refused_body::refusing::Refused, responder::Respond},
    verify::verifier::Verifier,
};

/// How often a request is decided again because the inner service was not ready in time.
///
/// With a cache the second time suffices. Without one, or with a freshness that no cache satisfies,
/// each decision takes time in which the readiness is given up.
const REPEATS: u8 = 3;

/// The invariant of `Waiting::request` and `Stage::Admitted`.
const ONCE: &str = "polled after completion";

pin_project! {
    /// A request that could not be decided at once.
    pub(super) struct Waiting<S, V, R, ReqB>
    where
        V: Verifier,
    {
        #[pin]
        stage: Stage<V::Future>,
        // Ready only from the end of `Stage::Admitted` to the call.
        inner: S,
        admitter: Arc<Admitter<V, R>>,
        request: Option<Request<ReqB>>,
        presentation: Presentation,
        // When the policy last decided about the token.
        decided_at: Moment,
        // When the verification started, if the last one took time.
        verification_started_at: Option<Moment>,
        repeats_left: u8,
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
        Admitted { decision: Option<Admission> },
    }
}

/// The result of waiting for a decision.
pub(super) enum WaitResult<S: Service<Request<ReqB>>, ReqB> {
    /// The request is admitted, and the inner service was called.
    Called {
        future: S::Future,
        edits: ResponseEdits,
        scheme: Scheme,
    },
    Refused(Refused<S::Response, ReqB>),
}

impl<S, V: Verifier, R, ReqB> Waiting<S, V, R, ReqB> {
    /// Waits at this stage: for the verification of the token, which started at `since`, or for a
    /// store, after the policy decided about the token then.
    pub(super) fn new(
        stage: Stage<V::Future>,
        since: Moment,
        inner: S,
        admitter: Arc<Admitter<V, R>>,
        request: Request<ReqB>,
        presentation: Presentation,
    ) -> Self {
        let verifies = matches!(stage, Stage::Verifying { .. });
        Self {
            stage,
            inner,
            admitter,
            request: Some(request),
            presentation,
            decided_at: since,
            verification_started_at: verifies.then_some(since),
            repeats_left: REPEATS,
            span: Some(DecisionSpan::begin()),
        }
    }

    pub(super) const fn admitter(&self) -> &Arc<Admitter<V, R>> {
        &self.admitter
    }
}

impl<S, V, R, ReqB, ResB> Waiting<S, V, R, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    V: Verifier,
    R: Respond<ResB>,
{
    /// Decides on the request, waits for the inner service and calls it, or returns the refusal.
    pub(super) fn poll_decision(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<WaitResult<S, ReqB>, S::Error>> {
        loop {
            let decided = match self.as_mut().project().stage.project() {
                StageProj::Admitted { .. } => match ready!(self.as_mut().poll_hand_over(cx))? {
                    HandOver::Called(future, edits) => {
                        let scheme = self.presentation.scheme();
                        return Poll::Ready(Ok(WaitResult::Called { future, edits, scheme }));
                    }
                    HandOver::DecidedAgain(decided) => decided,
                    HandOver::VerifyingAgain => continue,
                },
                _ => ready!(self.as_mut().poll_decided(cx)),
            };
            let decision = match decided {
                Ok(decision) => decision,
                Err(replay_check) => {
                    let mut this = self.as_mut().project();
                    release(this.inner);
                    this.stage.set(Stage::CheckingReplay { replay_check });
                    continue;
                }
            };
            if let Some(refused) = self.as_mut().end_with(decision) {
                return Poll::Ready(Ok(WaitResult::Refused(refused)));
            }
        }
    }

    /// Waits for the verification or the store, and decides about the token.
    fn poll_decided(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Decided<Admission>> {
        let this = self.project();
        let _entered = this.span.as_ref().map(DecisionSpan::enter);
        match this.stage.project() {
            StageProj::Verifying { verification } => {
                let outcome = ready!(verification.poll(cx));
                *this.decided_at = this.admitter.now();
                let request = this.request.as_mut().expect(ONCE);
                Poll::Ready(this.admitter.decide(outcome, this.presentation, request))
            }
            StageProj::CheckingReplay { replay_check } => Pin::new(replay_check).poll(cx).map(Ok),
            StageProj::Admitted { .. } => unreachable!("the request is decided"),
        }
    }

    /// Waits for the inner service, and calls it or decides again if the decision is too old.
    fn poll_hand_over(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<HandOver<S::Future>, S::Error>> {
        let mut this = self.project();
        // `inner` is a clone, which is not ready yet: `Introspect::release` or `release` below made it.
        ready!(this.inner.poll_ready(cx))?;
        let StageProj::Admitted { decision } = this.stage.as_mut().project() else {
            unreachable!("the request is not decided")
        };
        let decision = decision.take().expect(ONCE);
        let request = this.request.as_mut().expect(ONCE);
        if this.admitter.is_current(*this.decided_at) {
            if let Some(started_at) = *this.verification_started_at {
                let note = VerifiedForRequest::new(started_at, *this.decided_at);
                request.extensions_mut().insert(note);
            }
            return Poll::Ready(Ok(
                match this.admitter.hand_over(decision, this.presentation, request) {
                    Ok(edits) => {
                        let request = this.request.take().expect(ONCE);
                        HandOver::Called(this.inner.call(request), edits)
                    }
                    Err(error) => HandOver::DecidedAgain(Ok(Err(error))),
                },
            ));
        }
        let Some(left) = this.repeats_left.checked_sub(1) else {
            let error = VerifyError::new(ErrorKind::Unavailable)
                .with_context("the inner service was never ready while the decision was recent");
            return Poll::Ready(Ok(HandOver::DecidedAgain(Ok(Err(error)))));
        };
        *this.repeats_left = left;
        let decided = match this.admitter.identify_again(decision, request) {
            Ok(Identification::Verified(outcome, presentation)) => {
                *this.presentation = presentation;
                *this.verification_started_at = None;
                *this.decided_at = this.admitter.now();
                this.admitter.decide(outcome, this.presentation, request)
            }
            Ok(Identification::Verifying(verification, started_at, presentation)) => {
                *this.presentation = presentation;
                *this.verification_started_at = Some(started_at);
                *this.span = Some(DecisionSpan::begin());
                release(this.inner);
                this.stage.set(Stage::Verifying { verification });
                return Poll::Ready(Ok(HandOver::VerifyingAgain));
            }
            Ok(Identification::Anonymous) => Ok(Err(ErrorKind::MissingCredentials.into())),
            Err(error) => Ok(Err(error)),
        };
        Poll::Ready(Ok(HandOver::DecidedAgain(decided)))
    }

    /// Ends the decision. Returns the request and the response if it is refused.
    fn end_with(
        self: Pin<&mut Self>,
        decision: Result<Admission, VerifyError>,
    ) -> Option<Refused<S::Response, ReqB>> {
        let mut this = self.project();
        let request = this.request.as_mut().expect(ONCE);
        let (decision, refusal) = {
            let _entered = this.span.as_ref().map(DecisionSpan::enter);
            let decision = decision.and_then(|decision| {
                this.admitter.forward(&decision, request)?;
                Ok(decision)
            });
            let refuse = |error| this.admitter.refuse(error, Some(this.presentation), request);
            let refusal = decision.as_ref().err().map(refuse);
            (decision, refusal)
        };
        if let Some(span) = this.span.take() {
            span.end(decision.as_ref().map(Admission::token), request.extensions());
        }
        if let Ok(decision) = decision {
            this.stage.set(Stage::Admitted { decision: Some(decision) });
        }
        let response = refusal?;
        Some(Refused::of(this.request.take().expect(ONCE), |_| response))
    }
}

/// The result of handing a request over to the inner service.
enum HandOver<F> {
    Called(F, ResponseEdits),
    /// The decision was too old, and there is another one. The inner service is still ready.
    DecidedAgain(Decided<Admission>),
    /// The decision was too old, and the token is being verified again.
    VerifyingAgain,
}

/// Gives up the readiness of a service.
///
/// A clone does not share the readiness of the original, and dropping the original gives back what
/// it held.
fn release<S: Clone>(inner: &mut S) {
    *inner = inner.clone();
}
