//! The last step of a decision: the replay check.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Extensions, HeaderName, HeaderValue};
use sync_wrapper::SyncWrapper;

use super::verified_token::VerifiedToken;
use crate::{
    checks::{check::Check, detail::Detail, record::record},
    error::{boxed::BoxError, kind::ErrorKind, refusal::VerifyError},
    proof::{
        effects::{ProofEffects, ProofResult},
        replay::{
            pending_mark::replay_verdict,
            store::{Later, Marked, Marking},
        },
    },
};

/// An admitted token, and the remaining work on the request and its response.
#[derive(Debug)]
pub(crate) struct Admission {
    token: VerifiedToken,
    /// Boxed and usually `None`, so that it takes one pointer.
    effects: Option<Box<ProofEffects>>,
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
        self.effects.as_ref()?.varies_by()
    }

    /// Keeps of a decision that is too old only the record that the proof was marked.
    ///
    /// The next decision on the same request then does not mark it again, which would be a replay.
    pub(crate) fn keep_mark(self, extensions: &mut Extensions) {
        if let Some(marked_proof) = self.effects.and_then(|effects| effects.marked_proof) {
            extensions.insert(marked_proof);
        }
    }

    /// Stores the token and the result of the proof in the request.
    ///
    /// Returns the new nonce, if the client's is about to expire: a successful response carries it
    /// in `DPoP-Nonce`, with `Cache-Control: no-store` (RFC 9449 §8.2).
    ///
    /// An inner layer that checks the same proof of the same request then does not refuse it as
    /// used, and finds the certificate whose header was removed.
    #[inline]
    pub(crate) fn store_in(mut self, extensions: &mut Extensions) -> Option<HeaderValue> {
        self.token.observe_all();
        extensions.insert(self.token);
        let effects = *self.effects?;
        if let Some(marked_proof) = effects.marked_proof {
            extensions.insert(marked_proof);
        }
        #[cfg(feature = "mtls")]
        if let Some(certificate) = effects.forwarded_certificate {
            extensions.insert(*certificate);
        }
        effects.nonce
    }
}

/// A decision that is ready or pending, from `Policy::admit_presented`.
#[derive(Debug)]
pub(crate) struct Admitting(State);

#[derive(Debug)]
enum State {
    // The common case. It is not boxed, to avoid an allocation.
    Done(Result<Admission, VerifyError>),
    Pending(ReplayCheckFuture),
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
    pub(crate) fn now_or_later(self) -> Result<Result<Admission, VerifyError>, ReplayCheckFuture> {
        match self.0 {
            State::Done(outcome) => Ok(outcome),
            State::Pending(later) => Err(later),
        }
    }
}

/// A decision before the replay check.
pub(super) struct Decision {
    pub(super) verdict: Result<VerifiedToken, VerifyError>,
    pub(super) proof: Option<Box<ProofResult>>,
}

impl Decision {
    #[inline]
    pub(super) fn check_replay(self) -> Admitting {
        let Self { verdict, proof } = self;
        let Some(ProofResult { pending_mark, mut effects }) = proof.map(|proof| *proof) else {
            return Admitting::done(verdict.map(|token| Admission { token, effects: None }));
        };
        let marking = pending_mark.filter(|_| uses_up_proof(&verdict)).map(|pending| {
            let marking = pending.mark();
            effects.marked_proof = Some(pending.into_marked_proof());
            marking
        });
        let admission = verdict.map(|token| Admission { token, effects: Some(Box::new(effects)) });
        match marking.map(Marking::now_or_later) {
            None => Admitting::done(admission),
            Some(Ok(outcome)) => Admitting::done(unless_replayed(admission, outcome)),
            Some(Err(marking)) => {
                let (marking, admission) = (SyncWrapper::new(marking), Some(admission));
                Admitting(State::Pending(ReplayCheckFuture { marking, admission }))
            }
        }
    }
}

/// Returns true if this decision uses up the proof.
///
/// A proof is not used up if the client must authenticate differently or the service is at fault. A
/// refusal for lack of permission (403) uses it up: it is an answer to the authenticated client, as
/// an admission is.
fn uses_up_proof(verdict: &Result<VerifiedToken, VerifyError>) -> bool {
    verdict.as_ref().map_or_else(
        |error| matches!(error.kind(), ErrorKind::InsufficientScope | ErrorKind::Denied),
        |_| true,
    )
}

/// Returns `admission`, or the error if its proof was used before.
fn unless_replayed(
    admission: Result<Admission, VerifyError>,
    outcome: Result<Marked, BoxError>,
) -> Result<Admission, VerifyError> {
    record(Check::Possession, Detail::default, replay_verdict(outcome))?;
    admission
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
pub(crate) struct ReplayCheckFuture {
    marking: SyncWrapper<Later>,
    admission: Option<Result<Admission, VerifyError>>,
}

impl Future for ReplayCheckFuture {
    type Output = Result<Admission, VerifyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.marking.get_mut().as_mut().poll(cx));
        let admission = self.admission.take().expect("polled after completion");
        Poll::Ready(unless_replayed(admission, outcome))
    }
}

impl fmt::Debug for ReplayCheckFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayCheckFuture").finish_non_exhaustive()
    }
}
