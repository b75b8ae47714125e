use std::{
    fmt,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_layer::Layer;

use super::{cutoff::Standing, revocations::Revocations};
use crate::{
    checks::{check::Check, detail::Detail, record::record},
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::{
        active::ActiveToken,
        request::{CacheLookup, Freshness, VerifyRequest},
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// The most verifications of one request while new cutoffs keep outdating their outcomes.
const ATTEMPTS: u8 = 3;

/// A layer that checks every outcome of a verifier against cutoffs.
///
/// Place it outside of every layer that caches or shares outcomes, so that no outcome bypasses the
/// cutoffs. Facts from before a cutoff, cached or under way, are verified again. A JWT that a
/// cutoff revokes is refused with [`Revoked`](ErrorKind::Revoked).
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     claims::Claims,
///     clock::{Moment, SystemClock},
///     credentials::Token,
///     revocation::{Cutoff, RevocationLayer, Revocations},
///     verify::{ActiveToken, Method, Verifier, VerifyRequest, verify_fn},
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
    /// Creates a layer that checks outcomes against these cutoffs.
    #[must_use]
    pub const fn new(revocations: Revocations) -> Self {
        Self { revocations }
    }
}

impl<V> Layer<V> for RevocationLayer {
    type Service = RevocationCheck<V>;

    fn layer(&self, inner: V) -> RevocationCheck<V> {
        RevocationCheck { inner, revocations: self.revocations.clone() }
    }
}

/// The verifier of a [`RevocationLayer`]. It checks the outcomes of the inner verifier against the
/// cutoffs.
#[derive(Clone, Debug)]
pub struct RevocationCheck<V> {
    inner: V,
    revocations: Revocations,
}

impl<V: Verifier + Clone> Verifier for RevocationCheck<V> {
    type Future = RevocationFuture<V>;

    fn cached(&self, request: &CacheLookup<'_>) -> Option<Outcome> {
        let outcome = self.inner.cached(request)?;
        let stands = |active| {
            let is_unsure = self.revocations.is_unsure_of(active);
            !is_unsure && self.revocations.check(active) == Standing::Stands
        };
        // Revoked and outdated facts are handled by `verify`.
        outcome.as_ref().map_or(true, stands).then_some(outcome)
    }

    fn verify(&self, request: VerifyRequest) -> Verifying<RevocationFuture<V>> {
        let mut retry = Retry { request: request.clone(), attempts_left: ATTEMPTS };
        let mut verifying = self.inner.verify(request);
        loop {
            let outcome = match verifying.now_or_later() {
                Ok(outcome) => outcome,
                Err(future) => {
                    let verifier = self.clone();
                    return Verifying::pending(RevocationFuture { future, verifier, retry });
                }
            };
            verifying = match retry.check(&self.revocations, outcome) {
                ControlFlow::Break(outcome) => return Verifying::done(outcome),
                ControlFlow::Continue(request) => self.inner.verify(request),
            };
        }
    }
}

/// The request to repeat, and the number of verifications left.
struct Retry {
    request: VerifyRequest,
    attempts_left: u8,
}

impl Retry {
    /// Returns the final outcome after the cutoffs, or the request to verify next.
    fn check(
        &mut self,
        revocations: &Revocations,
        outcome: Outcome,
    ) -> ControlFlow<Outcome, VerifyRequest> {
        if outcome.as_ref().is_ok_and(|active| revocations.is_unsure_of(active)) {
            return ControlFlow::Break(Err(VerifyError::new(ErrorKind::Unavailable)
                .with_context("cutoffs of other instances may be missing")));
        }
        let standing = |active: &ActiveToken| revocations.check(active);
        match outcome.as_ref().map_or(Standing::Stands, standing) {
            Standing::Stands => ControlFlow::Break(outcome),
            Standing::Revoked => {
                let revoked = Err(ErrorKind::Revoked.into());
                ControlFlow::Break(record(Check::Cutoff, Detail::default, revoked))
            }
            Standing::Outdated(since) => {
                self.attempts_left = self.attempts_left.saturating_sub(1);
                // All waiting requests carry the same moment, so they can share one verification.
                let request = self.request.clone().with_not_before(since);
                match self.attempts_left {
                    0 => ControlFlow::Break(Err(VerifyError::new(ErrorKind::Unavailable)
                        .with_context("new revocations kept arriving during the verification"))),
                    // On the last attempt, also demand an age of zero: a custom verifier with a cache
                    // may ignore `not_before`.
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
    /// The future of [`RevocationCheck`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the verification that is under way.
    pub struct RevocationFuture<V: Verifier> {
        #[pin]
        future: V::Future,
        verifier: RevocationCheck<V>,
        retry: Retry,
    }
}

impl<V: Verifier> Future for RevocationFuture<V> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        loop {
            let mut outcome = ready!(this.future.as_mut().poll(cx));
            loop {
                let request = match this.retry.check(&this.verifier.revocations, outcome) {
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
