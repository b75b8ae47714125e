//! The lease of a stream.

use std::{fmt, sync::Arc};

use super::{
    end::StreamEnd,
    holder::check_same_holder,
    state::{LeaseState, LeaseTerms},
    waiters::WeakHeld,
};
use crate::{
    credentials::token::{Scheme, Token},
    error::{kind::ErrorKind, refusal::VerifyError},
    policy::{
        recorder::RecordMet,
        verified_token::{Requirement, VerifiedToken},
    },
    verify::{request::VerifyRequest, verifier::Verifier as _},
};

/// The lease of a stream: the permission to go on for as long as the token is good.
///
/// A [`StreamLayer`](crate::stream::StreamLayer) stores it in the extensions of each request that it admits
/// by a token. Handlers that serve a WebSocket, or a loop of their own, wait for
/// [`ended`](Self::ended); bodies are guarded by the layer.
///
/// # Clone
///
/// Clones are the same lease. It is open until it ends or the last clone is dropped.
///
/// ```
/// use tower_introspect::stream::Lease;
///
/// async fn serve(lease: Lease, mut next: tokio::sync::mpsc::Receiver<String>) -> u16 {
///     loop {
///         tokio::select! {
///             end = lease.ended() => return end.close_code(),
///             message = next.recv() => match message {
///                 Some(message) => println!("{message}"),
///                 None => return 1000,
///             },
///         }
///     }
/// }
/// # let _ = serve;
/// ```
#[derive(Clone)]
pub struct Lease(pub(super) Arc<LeaseState>);

impl Lease {
    /// Returns the end of the stream, if it has ended.
    #[must_use]
    pub fn end(&self) -> Option<StreamEnd> {
        self.0.end()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Waits for the end of the stream, and returns it.
    ///
    /// It does not take part in the work: that is done by one task for all streams of a service.
    ///
    /// # Cancellation
    ///
    /// Dropping the future stops the waiting. The lease stays open.
    pub async fn ended(&self) -> StreamEnd {
        loop {
            let tasks = match self.0.tasks() {
                Ok(tasks) => tasks,
                Err(end) => return end,
            };
            let notified = tasks.notified();
            if let Some(end) = self.end() {
                return end;
            }
            notified.await;
        }
    }

    /// Returns the token as it is known now.
    ///
    /// It was verified again since the request was admitted, and may be the one of a renewal.
    ///
    /// # Errors
    ///
    /// If the stream has ended, or its token no longer meets what the request had to meet. The stream
    /// then ends soon.
    pub fn token(&self) -> Result<VerifiedToken, VerifyError> {
        let active = self.0.active().ok_or_else(|| self.refusal())?;
        self.0.judge(&active)
    }

    /// Requires more of the token for as long as the stream is open.
    ///
    /// [`Requirement::fresh`] and [`Requirement::max_age`] are checked as of now, and not again.
    ///
    /// Requirements of layers, extractors and `RequestExt::require` are recorded on their own. Use
    /// this for those that a handler checks by itself, also for each message. The same requirement is
    /// recorded once; a function (such as [`Requirement::check_fn`]) only if it is a clone.
    ///
    /// # Errors
    ///
    /// If the token does not meet `requirement` now, or more than 64 different ones would be recorded. It
    /// is then not recorded.
    pub fn require(&self, requirement: &Requirement) -> Result<(), VerifyError> {
        requirement.check(&self.token()?)?;
        self.0.record_met(requirement)
    }

    /// Replaces the token of the stream by `token`, which the client sent within the stream.
    ///
    /// The new token is verified like that of a request. It must be of the same issuer, subject and
    /// client, be bound to the same key or to none as well, and meet everything that the request had
    /// to meet.
    ///
    /// # Errors
    ///
    /// If the new token is refused, or the stream has ended. The stream goes on with the token that it
    /// has.
    ///
    /// # Cancellation
    ///
    /// Dropping the future keeps the token that the stream has.
    ///
    /// # Security
    ///
    /// The client does not prove anew that it has the key of a bound token: it has proven that when it
    /// opened the stream. The text is limited in length as the tokens of requests are, and its peer is
    /// charged for a bad one where peers are known.
    pub async fn renew(&self, token: &str) -> Result<VerifiedToken, VerifyError> {
        let state = &*self.0;
        let terms = &*state.terms;
        if token.len() > terms.max_token_bytes {
            return Err(ErrorKind::TokenTooLong.into());
        }
        let token = Token::bearer(token).ok_or(ErrorKind::MalformedCredentials)?;
        let current = state.active().ok_or_else(|| self.refusal())?;
        let mut request = VerifyRequest::new(token.clone());
        if let Some(peer) = state.key().peer {
            request = request.with_peer(peer);
        }
        let active = terms.registrar.verifier().verify(request).await?;
        check_same_holder(&current, &active)?;
        let verified = state.judge(&active)?;
        if !terms.registrar.replace_token(&self.0, &token, active) {
            return Err(self.refusal());
        }
        Ok(verified)
    }

    /// Returns the refusal of a lease that has ended.
    fn refusal(&self) -> VerifyError {
        self.end().map_or_else(|| ErrorKind::Unavailable.into(), |end| end.to_refusal())
    }

    /// Drops this value when the lease ends. Returns false if it has ended.
    pub(super) fn hold(&self, held: WeakHeld) -> bool {
        self.0.hold(held)
    }

    /// Returns the place that records what the request meets.
    pub(crate) fn recorder(&self) -> Arc<dyn RecordMet> {
        Arc::clone(&self.0) as _
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.0.key().scheme
    }

    pub(super) fn terms(&self) -> &LeaseTerms {
        &self.0.terms
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("end", &self.end()).finish_non_exhaustive()
    }
}
