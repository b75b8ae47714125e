//! The end of a decision: whether the proof was used before.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Extensions, HeaderName, HeaderValue};

use super::verified::VerifiedToken;
use crate::{
    checks::{Detail, check::Check, step},
    error::{BoxError, kind::ErrorKind, refusal::VerifyError},
    proof::{
        Left, Shown,
        replay::{Marked, verdict},
    },
};

/// A token that was let in, and what is to be done about the request besides.
#[derive(Debug)]
pub struct Admission {
    token: VerifiedToken,
    /// Mostly nothing, in one word.
    left: Option<Box<Left>>,
}

impl Admission {
    /// The token.
    #[must_use]
    #[inline]
    pub const fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// The token, and nothing else.
    #[must_use]
    pub fn into_token(self) -> VerifiedToken {
        self.token
    }

    /// The nonce that a successful response should carry as `DPoP-Nonce`, with
    /// `Cache-Control: no-store`, as the client's gets old (RFC 9449 §8.2).
    #[must_use]
    pub fn fresh_nonce(&self) -> Option<&HeaderValue> {
        self.left.as_ref()?.nonce.as_ref()
    }

    /// The field that every response should name in `Vary`, unless it may not be stored anyway, as the
    /// certificate of the client was told in it (RFC 9440 §2.4).
    #[must_use]
    #[inline]
    pub fn varies_by(&self) -> Option<HeaderName> {
        self.left.as_ref()?.varies_by()
    }

    /// Leaves the token with the request, and what was shown: a layer within that looks at the same
    /// proof of the same request will not take it for used, nor miss a certificate whose field is taken
    /// off.
    ///
    /// Gives the [fresh nonce](Self::fresh_nonce).
    #[inline]
    pub fn leave_with(self, extensions: &mut Extensions) -> Option<HeaderValue> {
        extensions.insert(self.token);
        let left = *self.left?;
        if let Some(proven) = left.proven {
            extensions.insert(proven);
        }
        #[cfg(all(feature = "mtls", feature = "_crypto"))]
        if let Some(believed) = left.believed {
            extensions.insert(*believed);
        }
        left.nonce
    }
}

/// A decision, made or under way. Of [`Policy::admit_presented`](super::Policy::admit_presented).
#[derive(Debug)]
pub struct Admitting(State);

#[derive(Debug)]
enum State {
    // Nearly always, and then not moved around in a box.
    Done(Result<Admission, VerifyError>),
    Pending(AdmittingFuture),
}

impl Admitting {
    #[inline]
    pub(super) const fn done(outcome: Result<Admission, VerifyError>) -> Self {
        Self(State::Done(outcome))
    }

    /// The decision, or else the future of it.
    ///
    /// # Errors
    ///
    /// The future.
    #[inline]
    pub fn now_or_later(self) -> Result<Result<Admission, VerifyError>, AdmittingFuture> {
        match self.0 {
            State::Done(outcome) => Ok(outcome),
            State::Pending(later) => Err(later),
        }
    }
}

/// All of a decision but whether the proof was used before.
pub(super) struct Judged {
    pub(super) verdict: Result<VerifiedToken, VerifyError>,
    pub(super) shown: Option<Box<Shown>>,
}

impl Judged {
    #[inline]
    pub(super) fn settle(self) -> Admitting {
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
            Ok(outcome) => Admitting::done(rest.settle(outcome)),
            Err(marking) => {
                Admitting(State::Pending(AdmittingFuture { marking, rest: Some(rest) }))
            }
        }
    }
}

/// Whether the proof is used up by what was decided. Not if the client is to authenticate otherwise, or if
/// something is wrong with us; but before it learns that it is not allowed something, its proof must be
/// good.
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
    fn settle(self, outcome: Result<Marked, BoxError>) -> Result<Admission, VerifyError> {
        step(Check::Possession, Detail::default, verdict(outcome))?;
        self.admit()
    }

    fn admit(self) -> Result<Admission, VerifyError> {
        let Self { verdict, left } = self;
        verdict.map(|token| Admission { token, left: Some(left) })
    }
}

/// A decision under way: a shared store is being asked whether the proof was used before.
///
/// # Cancellation
///
/// If it is dropped, the proof may be used up and nothing was decided. The client makes another one.
pub struct AdmittingFuture {
    marking: Pin<Box<dyn Future<Output = Result<Marked, BoxError>> + Send>>,
    rest: Option<Rest>,
}

impl Future for AdmittingFuture {
    type Output = Result<Admission, VerifyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.marking.as_mut().poll(cx));
        let rest = self.rest.take().expect("polled after completion");
        Poll::Ready(rest.settle(outcome))
    }
}

impl fmt::Debug for AdmittingFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmittingFuture").finish_non_exhaustive()
    }
}
