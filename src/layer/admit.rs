//! From a request to the verdict on it, whether that takes time or not.

use http::{HeaderMap, Request, Response, header::AUTHORIZATION};

use super::IntrospectLayer;
use crate::{
    clock::Reading,
    credentials::{Origin, Scheme, Token},
    error::{ErrorKind, VerifyError},
    policy::strip_identity,
    respond::{self, Refusal, RequestHead, Respond},
    verify::{ActiveToken, Outcome, Verifier, VerifyRequest},
};

/// What a request carries.
pub(super) enum Credentials {
    Anonymous,
    Token(Token),
}

/// How the token was presented, kept while it is verified.
#[derive(Clone, Copy)]
pub(super) struct Presented {
    scheme: Scheme,
    origin: Origin,
}

impl Presented {
    pub(super) fn of(token: &Token) -> Self {
        Self { scheme: token.scheme(), origin: token.origin() }
    }

    /// A response to a request with its token in the query must not be stored by shared caches
    /// (RFC 6750 §2.3).
    pub(super) fn private(self) -> bool {
        self.origin == Origin::Query
    }
}

impl<V, R> IntrospectLayer<V, R> {
    /// The token of a request, and nothing else that could pass for an identity.
    pub(super) fn credentials<B>(
        &self,
        request: &mut Request<B>,
    ) -> Result<Credentials, VerifyError> {
        strip_identity(request.extensions_mut());
        if let Some(forward) = &self.settings.forward {
            forward.clear(request.headers_mut());
        }
        let head = RequestHead::of(request);
        if self.settings.exempt.as_deref().is_some_and(|exempt| exempt(head)) {
            return Ok(Credentials::Anonymous);
        }
        match self.settings.extractor.extract(head.headers(), head.uri()) {
            Ok(token) => Ok(Credentials::Token(token)),
            Err(error)
                if self.settings.optional && error.kind() == ErrorKind::MissingCredentials =>
            {
                Ok(Credentials::Anonymous)
            }
            Err(error) => Err(error),
        }
    }

    /// What the verifier is asked about the token of a request.
    pub(super) fn question<B>(&self, token: Token, request: &Request<B>) -> VerifyRequest {
        let head = RequestHead::of(request);
        let freshness = (self.settings.freshness)(head);
        let question = VerifyRequest::new(token).with_freshness(freshness);
        match self.settings.peer.as_deref().and_then(|peer| peer(head)) {
            Some(peer) => question.with_peer(peer),
            None => question,
        }
    }

    /// The outcome and when it was decided, if it is there at once, or else the future to wait for.
    pub(super) fn verify_now(
        &self,
        question: VerifyRequest,
    ) -> Result<(Outcome, Option<Reading>), V::Future>
    where
        V: Verifier,
    {
        if let Some(recalled) = self.verifier.recall(&question) {
            return Ok((recalled.outcome, Some(recalled.at)));
        }
        let verification = self.verifier.verify(question);
        let at = verification.decided_at();
        verification.now_or_later().map(|outcome| (outcome, at))
    }

    /// Holds the outcome against the policy, and lets the request carry the verdict.
    pub(super) fn admit<B>(
        &self,
        outcome: Outcome,
        at: Option<Reading>,
        presented: Presented,
        request: &mut Request<B>,
    ) -> Result<(), VerifyError> {
        let admit = |active: ActiveToken| self.policy.admit_at(active, presented.scheme, at);
        let token = outcome.and_then(admit)?;
        if let Some(forward) = &self.settings.forward {
            forward.fill(&token, request.headers_mut())?;
        }
        request.extensions_mut().insert(token);
        self.cover_credentials(request.headers_mut());
        Ok(())
    }

    pub(super) fn refuse<ReqB, ResB>(
        &self,
        error: &VerifyError,
        request: &Request<ReqB>,
    ) -> Response<ResB>
    where
        R: Respond<ResB>,
    {
        let refusal = Refusal::new(error, RequestHead::of(request), self.policy.challenges());
        respond::refuse(&*self.responder, &refusal)
    }

    /// What is not to be seen below is removed, or at least not shown.
    pub(super) fn cover_credentials(&self, headers: &mut HeaderMap) {
        if self.settings.remove_credentials {
            headers.remove(AUTHORIZATION);
        } else if let Some(value) = headers.get_mut(AUTHORIZATION) {
            // Whatever logs headers below this layer shows `Sensitive` instead.
            value.set_sensitive(true);
        }
    }
}
