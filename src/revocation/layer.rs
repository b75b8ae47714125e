use std::{
    fmt,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_layer::Layer;

use super::{Revocations, Standing};
use crate::{
    checks::{Detail, check::Check, step},
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::{
        Outcome, Verifier, Verifying,
        active::ActiveToken,
        request::{Freshness, RecallRequest, VerifyRequest},
    },
};

/// How often a token is verified at most because of cutoffs that come while it is verified.
const ATTEMPTS: u8 = 3;

/// Holds every outcome of a verifier against cutoffs.
///
/// Belongs outside of everything that remembers or shares outcomes, so that nothing gets by: facts
/// from before a cutoff, remembered or on their way, are established anew, and a JWT that a cutoff
/// revokes is refused with [`Revoked`](ErrorKind::Revoked).
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     claims::Claims,
///     clock::{Moment, SystemClock},
///     credentials::Token,
///     verify::{ActiveToken, Cutoff, Method, RevocationLayer, Revocations, Verifier, VerifyRequest, verify_fn},
/// };
/// use tower_layer::Layer;
///
/// let local = verify_fn(async |_| {
///     let claims = Claims::from_json(br#"{"sub": "alice", "iat": 1700000000}"#).expect("strict JSON");
///     Ok(ActiveToken::new("https://as.example.com", claims, Method::Jwt, Moment::now(&SystemClock)))
/// });
/// let revocations = Revocations::new();
/// let verifier = RevocationLayer::new(revocations.clone()).layer(local);
/// # tokio_test::block_on(async {
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// assert!(verifier.verify(request.clone()).await.is_ok());
/// revocations.revoke(&Cutoff::subject("https://as.example.com", "alice"));
/// assert_eq!(verifier.verify(request).await.unwrap_err().kind(), ErrorKind::Revoked);
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct RevocationLayer {
    revocations: Revocations,
}

impl RevocationLayer {
    /// Holds outcomes against these cutoffs.
    #[must_use]
    pub const fn new(revocations: Revocations) -> Self {
        Self { revocations }
    }
}

impl<V> Layer<V> for RevocationLayer {
    type Service = Revocable<V>;

    fn layer(&self, inner: V) -> Revocable<V> {
        Revocable { inner, revocations: self.revocations.clone() }
    }
}

/// The verifier of a [`RevocationLayer`].
#[derive(Clone, Debug)]
pub struct Revocable<V> {
    inner: V,
    revocations: Revocations,
}

impl<V: Verifier + Clone> Verifier for Revocable<V> {
    type Future = RevocationFuture<V>;

    fn recall(&self, request: &RecallRequest<'_>) -> Option<Outcome> {
        let outcome = self.inner.recall(request)?;
        let stands = |active| self.revocations.check(active) == Standing::Stands;
        // What does not stand is judged, and asked about anew, on the way through `verify`.
        outcome.as_ref().map_or(true, stands).then_some(outcome)
    }

    fn verify(&self, request: VerifyRequest) -> Verifying<RevocationFuture<V>> {
        let mut again = Again { request: request.clone(), left: ATTEMPTS };
        let mut verifying = self.inner.verify(request);
        loop {
            let at = verifying.decided_at();
            let outcome = match verifying.now_or_later() {
                Ok(outcome) => outcome,
                Err(future) => {
                    let verifier = self.clone();
                    return Verifying::pending(RevocationFuture { future, verifier, again });
                }
            };
            verifying = match again.judge(&self.revocations, outcome) {
                ControlFlow::Break(outcome) => return Verifying::done_at(outcome, at),
                ControlFlow::Continue(request) => self.inner.verify(request),
            };
        }
    }
}

/// What is asked next, if it is asked again.
struct Again {
    request: VerifyRequest,
    left: u8,
}

impl Again {
    /// The outcome as the cutoffs let it be, or what to ask instead.
    fn judge(
        &mut self,
        revocations: &Revocations,
        outcome: Outcome,
    ) -> ControlFlow<Outcome, VerifyRequest> {
        let standing = |active: &ActiveToken| revocations.check(active);
        match outcome.as_ref().map_or(Standing::Stands, standing) {
            Standing::Stands => ControlFlow::Break(outcome),
            Standing::Revoked => {
                let revoked = Err(ErrorKind::Revoked.into());
                ControlFlow::Break(step(Check::Cutoff, Detail::default, revoked))
            }
            Standing::Outdated(since) => {
                self.left = self.left.saturating_sub(1);
                // All who wait ask for the same, and so can share the answer.
                let request = self.request.clone().with_not_before(since);
                match self.left {
                    0 => ControlFlow::Break(Err(VerifyError::new(ErrorKind::Unavailable)
                        .with_context("revocations came in faster than answers"))),
                    // A verifier that remembers, and is not ours, may know of nothing but ages.
                    1 if request.freshness() != Freshness::Live => {
                        let none = Freshness::Within(Duration::ZERO);
                        ControlFlow::Continue(request.with_freshness(none))
                    }
                    _ => ControlFlow::Continue(request),
                }
            }
        }
    }
}

pin_project! {
    /// The future of [`Revocable`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the verification that is under way.
    pub struct RevocationFuture<V: Verifier> {
        #[pin]
        future: V::Future,
        verifier: Revocable<V>,
        again: Again,
    }
}

impl<V: Verifier> Future for RevocationFuture<V> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        loop {
            let mut outcome = ready!(this.future.as_mut().poll(cx));
            loop {
                let request = match this.again.judge(&this.verifier.revocations, outcome) {
                    ControlFlow::Break(outcome) => return Poll::Ready(outcome),
                    ControlFlow::Continue(request) => request,
                };
                match this.verifier.inner.verify(request).now_or_later() {
                    Ok(next) => outcome = next,
                    Err(future) => {
                        this.future.set(future);
                        break;
                    }
                }
            }
        }
    }
}

impl<V: Verifier> fmt::Debug for RevocationFuture<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationFuture").finish_non_exhaustive()
    }
}
