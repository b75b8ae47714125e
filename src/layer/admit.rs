//! Decides whether a request is admitted, at once or after a wait.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{AUTHORIZATION, CACHE_CONTROL, VARY},
};

use super::introspect_layer::IntrospectLayer;
use crate::{
    clock::Reading,
    credentials::{
        found::{Found, usable},
        head::RequestHead,
        token::{Origin, Scheme, Token},
    },
    error::{kind::ErrorKind, refusal::VerifyError},
    policy::{
        admit::{Admission, AdmittingFuture},
        verified::{Anonymous, strip_identity},
    },
    proof::presented::{DPOP, Presented},
    respond::{self, hook::Watch, http::DPOP_NONCE, refusal::Refusal, responder::Respond},
    telemetry,
    verify::{
        request::{CacheLookup, VerifyRequest},
        verifier::{Outcome, Verifier},
    },
};

/// The credentials a request presents, as far as they are known.
pub(super) enum Claimed<F> {
    /// The request presents no credentials, or is exempt.
    Nobody,
    /// The outcome for the token, with the clock reading at which it was decided if there is one.
    Known(Outcome, Option<Reading>, Presentation),
    /// The verifier is still verifying the token.
    Pending(F, Presentation),
}

/// How the token was presented. Kept while the token is verified.
pub(super) struct Presentation {
    scheme: Scheme,
    origin: Origin,
    /// Set for `DPoP` only, whose proof has to name the token. Boxed to keep this type small.
    token: Option<Box<Token>>,
}

impl Presentation {
    fn of(token: &Token) -> Self {
        let (scheme, origin) = (token.scheme(), token.origin());
        Self { scheme, origin, token: (scheme == Scheme::Dpop).then(|| Box::new(token.clone())) }
    }

    /// The presentation of a token whose outcome was in the cache.
    fn of_known(question: CacheLookup<'_>) -> Result<Self, VerifyError> {
        let (scheme, origin) = (question.found().scheme(), question.found().origin());
        if scheme == Scheme::Dpop {
            let token = Some(Box::new(question.into_token()?));
            return Ok(Self { scheme, origin, token });
        }
        usable();
        Ok(Self { scheme, origin, token: None })
    }
}

/// The verdict on a request, or the future of a store of used proofs that it depends on.
pub(super) enum AdmitResult {
    Now(Result<Closing, VerifyError>),
    Later(AdmittingFuture),
}

/// The changes to make to the response of the inner service.
///
/// Mostly there are none. The box keeps this type at one pointer, because every request moves it.
#[derive(Default)]
pub(super) struct Closing(Option<Box<Final>>);

struct Final {
    /// Shared caches must not store the response to a request with its token in the query (RFC 6750
    /// §2.3).
    private: bool,
    /// A fresh nonce to send. A response that carries it must not be stored (RFC 9449 §8.2).
    nonce: Option<HeaderValue>,
    /// The header in which a proxy sent the client certificate. `Vary` names it (RFC 9440 §2.4).
    varies_by: Option<HeaderName>,
}

impl Final {
    const fn is_needed(&self) -> bool {
        self.private || self.nonce.is_some() || self.varies_by.is_some()
    }
}

impl Closing {
    pub(super) const fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn close<B>(&self, response: &mut Response<B>) {
        let Some(rest) = self.0.as_deref() else { return };
        let is_success = response.status().is_success();
        let headers = response.headers_mut();
        match &rest.nonce {
            Some(nonce) if is_success => {
                headers.insert(DPOP_NONCE, nonce.clone());
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            _ if is_success && rest.private => {
                let private = HeaderValue::from_static("private");
                headers.entry(CACHE_CONTROL).or_insert(private);
            }
            _ => {}
        }
        if let Some(name) = &rest.varies_by {
            vary(headers, name);
        }
    }
}

/// Adds `name` to `Vary` unless it is listed already.
///
/// A response that may not be stored does not need it, but it does no harm.
fn vary(headers: &mut HeaderMap, name: &HeaderName) {
    let is_named = headers.get_all(VARY).into_iter().any(|value| {
        let names = value.as_bytes().split(|byte| *byte == b',');
        names
            .map(<[u8]>::trim_ascii)
            .any(|one| one == b"*" || one.eq_ignore_ascii_case(name.as_str().as_bytes()))
    });
    if !is_named {
        headers.append(VARY, HeaderValue::from(name.clone()));
    }
}

impl<V, R> IntrospectLayer<V, R> {
    /// Removes everything from a request that could pass for a verdict of this layer.
    pub(super) fn clear<B>(&self, request: &mut Request<B>) {
        strip_identity(request.extensions_mut());
        if let Some(hook) = &self.settings.hook {
            Watch::by(hook, request.extensions_mut());
        }
        if let Some(forward) = &self.settings.forward {
            forward.clear(request.headers_mut());
        }
    }

    /// Finds the credentials of a request and starts to verify them.
    pub(super) fn identify<B>(
        &self,
        request: &Request<B>,
    ) -> Result<Claimed<V::Future>, VerifyError>
    where
        V: Verifier,
    {
        let head = RequestHead::of(request);
        if self.settings.exempt.as_deref().is_some_and(|exempt| exempt(head)) {
            return Ok(Claimed::Nobody);
        }
        match self.settings.extractor.find(head.headers(), head.uri()) {
            Ok(found) => self.verify(found, head),
            Err(error)
                if self.settings.optional && error.kind() == ErrorKind::MissingCredentials =>
            {
                Ok(Claimed::Nobody)
            }
            Err(error) => Err(error),
        }
    }

    /// Looks the token up in the cache, and has it verified if it is not there.
    ///
    /// The cache is searched by the digest of the token, so a hit of a bearer token keeps nothing
    /// of the request.
    fn verify(
        &self,
        found: Found<'_>,
        head: RequestHead<'_>,
    ) -> Result<Claimed<V::Future>, VerifyError>
    where
        V: Verifier,
    {
        let freshness = (self.settings.freshness)(head);
        let question = CacheLookup::new(found, freshness);
        if let Some(outcome) = self.verifier.cached(&question) {
            let at = question.reading();
            return Ok(Claimed::Known(outcome, at, Presentation::of_known(question)?));
        }
        let token = question.into_token()?;
        let presentation = Presentation::of(&token);
        let mut question = VerifyRequest::new(token).with_freshness(freshness);
        if let Some(peer) = self.settings.peer.as_deref().and_then(|peer| peer(head)) {
            question = question.with_peer(peer);
        }
        let verification = self.verifier.verify(question);
        let at = verification.reading();
        Ok(match verification.now_or_later() {
            Ok(outcome) => Claimed::Known(outcome, at, presentation),
            Err(future) => Claimed::Pending(future, presentation),
        })
    }

    /// Checks the outcome against the policy, and stores the verdict in the request.
    pub(super) fn admit<B>(
        &self,
        outcome: Outcome,
        at: Option<Reading>,
        presentation: &Presentation,
        request: &mut Request<B>,
    ) -> AdmitResult {
        if self.settings.log_subjects {
            // A refused token has no subject. `None` then replaces one that an outer layer stored.
            let subject = outcome.as_ref().ok().and_then(|active| active.claims().subject());
            Watch::show(subject, request.extensions_mut());
        }
        let active = match outcome {
            Ok(active) => active,
            Err(error) => return AdmitResult::Now(Err(error)),
        };
        let Presentation { scheme, token, .. } = presentation;
        let presented = Presented::under(*scheme, RequestHead::of(request), token.as_deref());
        match self.policy.admit_presented(active, &presented, at).now_or_later() {
            Ok(admission) => {
                AdmitResult::Now(self.finish_admission(admission, presentation, request))
            }
            Err(later) => AdmitResult::Later(later),
        }
    }

    /// Stores the verdict in the request, and returns the changes to make to the response.
    pub(super) fn finish_admission<B>(
        &self,
        admission: Result<Admission, VerifyError>,
        presentation: &Presentation,
        request: &mut Request<B>,
    ) -> Result<Closing, VerifyError> {
        let admission = admission?;
        if let Some(forward) = &self.settings.forward {
            forward.fill(admission.token(), request.headers_mut())?;
        }
        let varies_by = admission.varies_by();
        let token = admission.token();
        telemetry::report::admitted(token.method().as_str(), token.decision_age());
        let nonce = admission.leave_with(request.extensions_mut());
        self.cover_credentials(Some(presentation.scheme), request);
        let rest = Final { private: presentation.origin == Origin::Query, nonce, varies_by };
        Ok(Closing(rest.is_needed().then(|| Box::new(rest))))
    }

    /// Admits a request that carries no credentials.
    pub(super) fn admit_nobody<B>(&self, request: &mut Request<B>) {
        let challenge = Arc::clone(self.policy.challenges());
        request.extensions_mut().insert(Anonymous::new(challenge));
        telemetry::report::anonymous();
        self.cover_credentials(None, request);
    }

    /// Renders the refusal of a request.
    pub(super) fn refuse<ReqB, ResB>(
        &self,
        error: &VerifyError,
        presentation: Option<&Presentation>,
        request: &Request<ReqB>,
    ) -> Response<ResB>
    where
        R: Respond<ResB>,
    {
        telemetry::report::turned_away();
        let refusal = Refusal::new(error, RequestHead::of(request), self.policy.challenges())
            .presented(presentation.map(|presentation| presentation.scheme));
        respond::responder::refuse(&*self.responder, &refusal)
    }

    /// Removes the credentials, or marks them as sensitive so that `Debug` output hides them.
    ///
    /// `scheme` is `None` if no token of the request was verified. There may then be several
    /// fields.
    fn cover_credentials<B>(&self, scheme: Option<Scheme>, request: &mut Request<B>) {
        self.policy.proofs().strip(request);
        let headers = request.headers_mut();
        if self.settings.remove_credentials {
            headers.remove(AUTHORIZATION);
            headers.remove(DPOP);
            return;
        }
        let Some(scheme) = scheme else {
            let fields =
                headers.iter_mut().filter(|(name, _)| [AUTHORIZATION, DPOP].contains(name));
            return fields.for_each(|(_, value)| value.set_sensitive(true));
        };
        // An admitted request has at most one of each. A proof beside a bearer token proves
        // nothing.
        if let Some(value) = headers.get_mut(AUTHORIZATION) {
            value.set_sensitive(true);
        }
        if scheme == Scheme::Dpop
            && let Some(value) = headers.get_mut(DPOP)
        {
            value.set_sensitive(true);
        }
    }
}
