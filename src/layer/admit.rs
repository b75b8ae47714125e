//! Decides whether a request is admitted, at once or after a wait.

use std::sync::Arc;

use http::{Extensions, HeaderMap, Request, Response, header::AUTHORIZATION};

use super::{
    decision_age::{MAX_DECISION_AGE, VerifiedForRequest},
    edits::{HandledRequest, ResponseEdits},
    introspect_layer::IntrospectLayer,
    settings::Settings,
};
use crate::{
    clock::Moment,
    credentials::{
        head::RequestHead,
        hide::mark_sensitive,
        token::{Origin, Scheme, Token},
        unchecked_token::{UncheckedToken, record_valid},
    },
    error::{kind::ErrorKind, refusal::VerifyError},
    policy::{
        identity::{Anonymous, strip_identity},
        replay_check::{Admission, ReplayCheckFuture},
        settings::Policy,
    },
    proof::presented::{DPOP, Presented},
    respond::{
        hook::{LoggedSubject, report},
        inner_refusal::{self, InnerRefusal},
        refusal::Refusal,
        responder::{Respond, render},
    },
    telemetry::{self, refused_by::RefusedBy},
    verify::{
        request::{CacheLookup, Freshness, VerifyRequest},
        verifier::{Outcome, Verifier},
    },
};

/// The state of the verification of a request's credentials.
pub(super) enum Identification<F> {
    /// The request presents no credentials, or is exempt.
    Anonymous,
    /// The outcome for the token.
    Verified(Outcome, Presentation),
    /// The verifier is still verifying the token. It started at this moment.
    Verifying(F, Moment, Presentation),
}

/// How the token was presented. Kept while the token is verified.
pub(super) struct Presentation {
    scheme: Scheme,
    origin: Origin,
    /// Set for `DPoP`, whose proof has to name the token, and where a lease keeps it. Boxed to keep
    /// this type small.
    token: Option<Box<Token>>,
}

impl Presentation {
    pub(super) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(super) fn token(&self) -> Option<&Token> {
        self.token.as_deref()
    }

    fn of(token: &Token, keeps_token: bool) -> Self {
        let (scheme, origin) = (token.scheme(), token.origin());
        let keeps_token = keeps_token || scheme == Scheme::Dpop;
        Self { scheme, origin, token: keeps_token.then(|| Box::new(token.clone())) }
    }

    /// The presentation of a token whose outcome was in the cache.
    fn of_cached(lookup: CacheLookup<'_>, keeps_token: bool) -> Result<Self, VerifyError> {
        let (scheme, origin) = (lookup.found().scheme(), lookup.found().origin());
        if keeps_token || scheme == Scheme::Dpop {
            let token = Some(Box::new(lookup.into_token()?));
            return Ok(Self { scheme, origin, token });
        }
        record_valid();
        Ok(Self { scheme, origin, token: None })
    }
}

/// The decision on a request, or the future of it if a store must first say whether the proof was
/// used before.
pub(super) type Decided<T> = Result<Result<T, VerifyError>, ReplayCheckFuture>;

/// Decides about requests with the settings of the layer.
pub(super) struct Admitter<V, R> {
    verifier: Arc<V>,
    responder: Arc<R>,
    policy: Arc<Policy>,
    pub(super) settings: Settings,
}

impl<V, R> Admitter<V, R> {
    pub(super) fn new(layer: &IntrospectLayer<V, R>) -> Self {
        let IntrospectLayer { verifier, responder, policy, settings } = layer.clone();
        Self { verifier, responder, policy, settings }
    }

    /// Removes everything from a request that could pass for a decision of this layer.
    pub(super) fn prepare<B>(&self, request: &mut Request<B>) {
        strip_identity(request.extensions_mut());
        if let Some(forward) = &self.settings.forward {
            forward.clear(request.headers_mut());
        }
    }

    /// Finds the credentials of a request and starts to verify them.
    pub(super) fn identify<B>(
        &self,
        request: &Request<B>,
    ) -> Result<Identification<V::Future>, VerifyError>
    where
        V: Verifier,
    {
        let head = RequestHead::of(request);
        if self.settings.exempt.as_deref().is_some_and(|exempt| exempt(head)) {
            return Ok(Identification::Anonymous);
        }
        match self.find(head) {
            Ok(found) => self.look_up_or_verify(found, head),
            Err(error)
                if self.settings.optional && error.kind() == ErrorKind::MissingCredentials =>
            {
                Ok(Identification::Anonymous)
            }
            Err(error) => Err(error),
        }
    }

    /// Finds the text in the place of the token.
    fn find<'a>(&self, head: RequestHead<'a>) -> Result<UncheckedToken<'a>, VerifyError> {
        let Settings { extractor, optional, .. } = &self.settings;
        if *optional {
            extractor.find_optional(head.headers(), head.uri())
        } else {
            extractor.find(head.headers(), head.uri())
        }
    }

    /// Starts to verify the token of a request again, because its decision is too old.
    ///
    /// Most often the verifier has recent facts, and holds them against the cutoffs and keys of now.
    pub(super) fn identify_again<B>(
        &self,
        decision: Admission,
        request: &mut Request<B>,
    ) -> Result<Identification<V::Future>, VerifyError>
    where
        V: Verifier,
    {
        decision.keep_mark(request.extensions_mut());
        let head = RequestHead::of(request);
        let found = self.find(head)?;
        self.look_up_or_verify(found, head)
    }

    pub(super) fn now(&self) -> Moment {
        self.policy.now()
    }

    /// Returns true if a decision of that moment may still be acted on.
    pub(super) fn is_current(&self, decided_at: Moment) -> bool {
        self.now().since(decided_at) <= MAX_DECISION_AGE
    }

    /// Looks the token up in the cache, and has it verified if it is not there.
    ///
    /// The lookup borrows the token, so a bearer token that is found in the cache is never copied
    /// out of the request.
    fn look_up_or_verify(
        &self,
        found: UncheckedToken<'_>,
        head: RequestHead<'_>,
    ) -> Result<Identification<V::Future>, VerifyError>
    where
        V: Verifier,
    {
        let freshness = (self.settings.freshness)(head);
        let lookup = CacheLookup::new(found, freshness);
        if let Some(outcome) = self.verifier.cached(&lookup) {
            return Ok(Identification::Verified(
                outcome,
                Presentation::of_cached(lookup, self.opens_leases())?,
            ));
        }
        let token = lookup.into_token()?;
        let presentation = Presentation::of(&token, self.opens_leases());
        // Before the verifier reads its own clock: what it finds out counts from here.
        let started_at = self.now();
        let mut request = VerifyRequest::new(token).with_freshness(freshness);
        if freshness != Freshness::Cached
            && let Some(earlier) = VerifiedForRequest::start(head, started_at)
        {
            request = request.arrived_at(earlier);
        }
        if let Some(peer) = self.settings.peer.as_deref().and_then(|peer| peer(head)) {
            request = request.with_peer(peer);
        }
        Ok(match self.verifier.verify(request).now_or_later() {
            Ok(outcome) => Identification::Verified(outcome, presentation),
            Err(future) => Identification::Verifying(future, started_at, presentation),
        })
    }

    /// Checks the outcome against the policy, and hands the request over if it can be decided at
    /// once.
    pub(super) fn admit<B>(
        &self,
        outcome: Outcome,
        presentation: &Presentation,
        request: &mut Request<B>,
    ) -> Decided<ResponseEdits> {
        self.decide(outcome, presentation, request).map(|decision| {
            let decision = decision?;
            if let Some(forward) = &self.settings.forward {
                forward.fill(decision.token(), request.headers_mut())?;
            }
            self.hand_over(decision, presentation, request)
        })
    }

    /// Checks the outcome against the policy.
    #[inline]
    pub(super) fn decide<B>(
        &self,
        outcome: Outcome,
        presentation: &Presentation,
        request: &mut Request<B>,
    ) -> Decided<Admission> {
        if self.settings.log_subjects {
            // A refused token has no subject. `None` then replaces one that an outer layer stored.
            let subject = outcome.as_ref().ok().and_then(|active| active.claims().subject());
            LoggedSubject::set(subject, request.extensions_mut());
        }
        let active = match outcome {
            Ok(active) => active,
            Err(error) => return Ok(Err(error)),
        };
        let Presentation { scheme, token, .. } = presentation;
        let presented = Presented::under(*scheme, RequestHead::of(request), token.as_deref());
        self.policy.admit_presented(active, &presented).now_or_later()
    }

    /// Writes the claims of the token into the headers, if configured.
    ///
    /// The request may wait after this, and be decided again.
    pub(super) fn forward<B>(
        &self,
        decision: &Admission,
        request: &mut Request<B>,
    ) -> Result<(), VerifyError> {
        let Some(forward) = &self.settings.forward else { return Ok(()) };
        forward.apply(Some(decision.token()), request.headers_mut())
    }

    /// Stores the decision in the request, right before the inner service is called, and returns the
    /// changes to make to the response.
    ///
    /// # Errors
    ///
    /// If no further stream may be opened.
    #[inline]
    pub(super) fn hand_over<B>(
        &self,
        decision: Admission,
        presentation: &Presentation,
        request: &mut Request<B>,
    ) -> Result<ResponseEdits, VerifyError> {
        self.open_lease(&decision, presentation, request)?;
        let varies_by = decision.varies_by();
        let token = decision.token();
        telemetry::report::request_admitted(token.method().as_str(), token.facts_age());
        if self.settings.log_subjects
            && let Some(subject) = token.subject()
        {
            telemetry::events::subject_admitted(subject);
        }
        let nonce = decision.store_in(request.extensions_mut());
        self.hide_credentials(Some(presentation), request);
        let private = presentation.origin != Origin::Header;
        Ok(ResponseEdits::new(private, nonce, varies_by, self.to_report(request)))
    }

    /// Admits a request that carries no credentials, and returns the changes to make to the response.
    pub(super) fn admit_anonymous<B>(&self, request: &mut Request<B>) -> ResponseEdits {
        request.extensions_mut().insert(Anonymous::new(&self.policy));
        telemetry::report::request_anonymous();
        self.hide_credentials(None, request);
        ResponseEdits::new(false, None, None, self.to_report(request))
    }

    /// Returns what to report of a request that its handler refuses, if anything.
    fn to_report<B>(&self, request: &Request<B>) -> Option<HandledRequest> {
        let is_needed = self.policy.hook().is_some() || self.settings.log_subjects;
        is_needed.then(|| HandledRequest::of(request))
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
        telemetry::report::request_refused();
        let refusal = Refusal::new(error, RequestHead::of(request), self.policy.challenges())
            .presented(presentation.map(Presentation::scheme));
        report(&refusal, RefusedBy::Layer, self.policy.hook());
        render(&*self.responder, &refusal)
    }

    /// Renders anew the refusal that an inner service left in its response, and reports it unless
    /// that was done.
    #[cold]
    pub(super) fn refuse_again<B>(
        &self,
        response: &mut Response<B>,
        edits: &ResponseEdits,
        scheme: Option<Scheme>,
    ) where
        R: Respond<B>,
    {
        let Some(left) = response.extensions().get::<InnerRefusal>().cloned() else { return };
        let new =
            |head| Refusal::new(left.error(), head, self.policy.challenges()).presented(scheme);
        let rendered = match left.head() {
            Some(head) => render(&*self.responder, &new(head)),
            None => {
                // A handler of gRPC returns a status, so this one speaks HTTP.
                let handled = edits.handled().cloned().unwrap_or_default();
                let (headers, mut extensions) = (HeaderMap::new(), Extensions::new());
                if let Some(subject) = handled.subject {
                    extensions.insert(subject);
                }
                let head = RequestHead::new(&handled.method, &handled.uri, &headers)
                    .with_extensions(&extensions);
                report(&new(head), RefusedBy::Handler, self.policy.hook());
                render(&*self.responder, &new(head))
            }
        };
        inner_refusal::replace(response, rendered);
    }

    /// Removes the credentials, or marks them as sensitive so that `Debug` output hides them.
    ///
    /// `presentation` is `None` if no token of the request was verified. There may then be several.
    fn hide_credentials<B>(&self, presentation: Option<&Presentation>, request: &mut Request<B>) {
        self.policy.proofs().strip(request);
        if self.settings.remove_credentials {
            self.settings.extractor.remove_credentials(request);
            request.headers_mut().remove(DPOP);
            return;
        }
        let headers = request.headers_mut();
        match presentation.map(|presentation| presentation.origin) {
            // The only token of an admitted request, in the only field of this name.
            Some(Origin::Header) => {
                if let Some(value) = headers.get_mut(AUTHORIZATION) {
                    value.set_sensitive(true);
                }
            }
            _ => self.settings.extractor.mark_sensitive(headers),
        }
        // Also beside a bearer token, which it proves nothing about.
        if headers.contains_key(DPOP) {
            mark_sensitive(headers, |name| *name == DPOP);
        }
    }
}
