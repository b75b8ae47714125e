//! The last step of a decision: the replay check.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Extensions, HeaderName, HeaderValue};
use sync_wrapper::SyncWrapper;

use super::admitted::VerifiedToken;
use crate::{
    checks::{check::Check, detail::Detail, step::step},
    error::{boxed::BoxError, kind::ErrorKind, refusal::VerifyError},
    proof::{
        replay::{
            proven::verdict,
            store::{Later, Marked},
        },
        shown::{Left, Shown},
    },
};

/// An admitted token, and the remaining work on the request and its response.
#[derive(Debug)]
pub(crate) struct Admission {
    token: VerifiedToken,
    /// Boxed and usually `None`, so that it takes one pointer.
    left: Option<Box<Left>>,
}

impl Admission {
    /// Returns the token.
    #[must_use]
    #[inline]
    pub(crate) const fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// Returns the header that held the client's certificate, if a proxy set one.
    ///
    /// Every response should name it in `Vary`, unless it must not be stored anyway (RFC 9440
    /// §2.4).
    #[must_use]
    #[inline]
    pub(crate) fn varies_by(&self) -> Option<HeaderName> {
        self.left.as_ref()?.varies_by()
    }

    /// Puts the token and the result of the proof into the request extensions, and returns the
    /// nonce that a successful response should carry as `DPoP-Nonce` together with `Cache-Control:
    /// no-store`, if the client's nonce is about to expire (RFC 9449 §8.2).
    ///
    /// An inner layer that checks the same proof of the same request then does not refuse it as
    /// used, and finds the certificate whose header was removed.
    #[inline]
    pub(crate) fn leave_with(self, extensions: &mut Extensions) -> Option<HeaderValue> {
        extensions.insert(self.token);
        let left = *self.left?;
        if let Some(proven) = left.proven {
            extensions.insert(proven);
        }
        #[cfg(feature = "mtls")]
        if let Some(believed) = left.believed {
            extensions.insert(*believed);
        }
        left.nonce
    }
}

/// A decision that is ready or pending, from `Policy::admit_presented`.
#[derive(Debug)]
pub(crate) struct Admitting(State);

#[derive(Debug)]
enum State {
    // The common case. It is not boxed, to avoid an allocation.
    Done(Result<Admission, VerifyError>),
    Pending(AdmittingFuture),
}

impl Admitting {
    #[inline]
    pub(super) const fn done(outcome: Result<Admission, VerifyError>) -> Self {
        Self(State::Done(outcome))
    }

    /// Returns the decision if it is ready.
    ///
    /// # Errors
    ///
    /// The future of the decision, if it is pending.
    #[inline]
    pub(crate) fn now_or_later(self) -> Result<Result<Admission, VerifyError>, AdmittingFuture> {
        match self.0 {
            State::Done(outcome) => Ok(outcome),
            State::Pending(later) => Err(later),
        }
    }
}

/// A decision before the replay check.
pub(super) struct Judged {
    pub(super) verdict: Result<VerifiedToken, VerifyError>,
    pub(super) shown: Option<Box<Shown>>,
}

impl Judged {
    #[inline]
    pub(super) fn check_replay(self) -> Admitting {
        let Self { verdict, shown } = self;
        let Some(Shown { pending, left }) = shown.map(|shown| *shown) else {
            return Admitting::done(verdict.map(|token| Admission { token, left: None }));
        };
        let mut rest = Rest { verdict, left: Box::new(left) };
        let Some(pending) = pending.filter(|_| may_mark(&rest.verdict)) else {
            return Admitting::done(rest.admit());
        };
        let marking = pending.mark();
        rest.left.proven = Some(pending.into_proven());
        match marking.now_or_later() {
            Ok(outcome) => Admitting::done(rest.finish(outcome)),
            Err(marking) => {
                let marking = SyncWrapper::new(marking);
                Admitting(State::Pending(AdmittingFuture { marking, rest: Some(rest) }))
            }
        }
    }
}

/// Returns true if this decision uses up the proof.
///
/// A proof is not used up if the client must authenticate differently or the service is at fault. A
/// client that is not allowed something learns so only with a good proof, so such a refusal does
/// use it up.
fn may_mark(verdict: &Result<VerifiedToken, VerifyError>) -> bool {
    verdict.as_ref().map_or_else(
        |error| matches!(error.kind(), ErrorKind::InsufficientScope | ErrorKind::Denied),
        |_| true,
    )
}

#[derive(Debug)]
struct Rest {
    verdict: Result<VerifiedToken, VerifyError>,
    left: Box<Left>,
}

impl Rest {
    fn finish(self, outcome: Result<Marked, BoxError>) -> Result<Admission, VerifyError> {
        step(Check::Possession, Detail::default, verdict(outcome))?;
        self.admit()
    }

    fn admit(self) -> Result<Admission, VerifyError> {
        let Self { verdict, left } = self;
        verdict.map(|token| Admission { token, left: Some(left) })
    }
}

/// A future for a decision that waits for a shared store to say whether the proof was used before.
///
/// # Cancellation
///
/// If the future is dropped, the proof may be used up although no decision was made. The client
/// must then make a new proof.
///
/// # Panics
///
/// If it is polled after completion.
pub(crate) struct AdmittingFuture {
    marking: SyncWrapper<Later>,
    rest: Option<Rest>,
}

impl Future for AdmittingFuture {
    type Output = Result<Admission, VerifyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.marking.get_mut().as_mut().poll(cx));
        let rest = self.rest.take().expect("polled after completion");
        Poll::Ready(rest.finish(outcome))
    }
}

impl fmt::Debug for AdmittingFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmittingFuture").finish_non_exhaustive()
    }
}
