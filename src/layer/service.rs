use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, HeaderMap, Request, Response, header::AUTHORIZATION};
use tower_service::Service;

use super::{IntrospectLayer, future::ResponseFuture};
use crate::{
    credentials::{Origin, Scheme, Token},
    error::{ErrorKind, VerifyError},
    policy::{Anonymous, VerifiedToken},
    respond::{self, Auto, Refusal, RequestHead, Respond},
    verify::{ActiveToken, Outcome, Verifier, VerifyRequest},
};

/// The service of an [`IntrospectLayer`].
///
/// # Backpressure
///
/// Ready when the inner service is. While a token is being verified, the readiness of the inner
/// service is given up and acquired anew afterwards: requests whose token is still unverified, or
/// refused, hold no permit of it.
///
/// # Clone
///
/// Clones share the verifier. A request whose token is verified at once does not clone the inner
/// service.
pub struct Introspect<S, V, R = Auto> {
    inner: S,
    shared: Arc<IntrospectLayer<V, R>>,
}

impl<S, V> Introspect<S, V> {
    /// The layer that makes this service.
    ///
    /// ```
    /// use tower_introspect::{
    ///     ErrorKind, Policy,
    ///     layer::Introspect,
    ///     verify::{BoxVerifier, verify_fn},
    /// };
    ///
    /// let closed = BoxVerifier::new(verify_fn(async |_| Err(ErrorKind::Inactive.into())));
    /// let layer = Introspect::<(), _>::layer(closed, Policy::new("https://api.example.com"));
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn layer(verifier: V, policy: crate::Policy) -> IntrospectLayer<V> {
        IntrospectLayer::new(verifier, policy)
    }
}

impl<S, V, R> Introspect<S, V, R> {
    pub(super) const fn new(inner: S, shared: Arc<IntrospectLayer<V, R>>) -> Self {
        Self { inner, shared }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, V, R, ReqB, ResB> Service<Request<ReqB>> for Introspect<S, V, R>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    V: Verifier,
    R: Respond<ResB>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, V, R, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let shared = &self.shared;
        match shared.credentials(&mut request) {
            Ok(Credentials::Anonymous) => {
                request.extensions_mut().insert(Anonymous(Arc::clone(shared.policy.challenges())));
                ResponseFuture::calling(self.inner.call(request), false)
            }
            Ok(Credentials::Token(token)) => {
                let presented = Presented::of(&token);
                let freshness = (shared.settings.freshness)(RequestHead::of(&request));
                let question = VerifyRequest::new(token).with_freshness(freshness);
                match shared.verifier.verify(question).now_or_later() {
                    Ok(outcome) => match shared.admit(outcome, presented, &mut request) {
                        Ok(()) => {
                            let future = self.inner.call(request);
                            ResponseFuture::calling(future, presented.private())
                        }
                        Err(error) => self.refuse(&error, &request),
                    },
                    Err(verification) => {
                        let inner = self.release();
                        ResponseFuture::verifying(
                            verification,
                            inner,
                            Arc::clone(&self.shared),
                            request,
                            presented,
                        )
                    }
                }
            }
            Err(error) => self.refuse(&error, &request),
        }
    }
}

impl<S: Clone, V, R> Introspect<S, V, R> {
    /// Gives up the readiness that `poll_ready` reserved, and returns a service without any.
    ///
    /// A clone has no readiness of the original (see "Be careful when cloning inner services" in
    /// `tower_service::Service`); dropping the original gives back what it held. Moving it into the
    /// future instead would let unverified requests hold the permits of a `ConcurrencyLimit`
    /// below, leaving it in place would deadlock one with a single permit.
    fn release(&mut self) -> S {
        let unready = self.inner.clone();
        self.inner = unready.clone();
        unready
    }

    fn refuse<ReqB, ResB>(
        &mut self,
        error: &VerifyError,
        request: &Request<ReqB>,
    ) -> ResponseFuture<S, V, R, ReqB>
    where
        S: Service<Request<ReqB>, Response = Response<ResB>>,
        V: Verifier,
        R: Respond<ResB>,
    {
        // A connection that idles after a refusal must not go on holding a permit.
        self.inner = self.inner.clone();
        ResponseFuture::refused(self.shared.refuse(error, request))
    }
}

impl<S: Clone, V, R> Clone for Introspect<S, V, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug, V, R> fmt::Debug for Introspect<S, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspect").field("inner", &self.inner).finish_non_exhaustive()
    }
}

enum Credentials {
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
    fn of(token: &Token) -> Self {
        Self { scheme: token.scheme(), origin: token.origin() }
    }

    /// A response to a request with its token in the query must not be stored by shared caches
    /// (RFC 6750 §2.3).
    pub(super) fn private(self) -> bool {
        self.origin == Origin::Query
    }
}

impl<V, R> IntrospectLayer<V, R> {
    fn credentials<B>(&self, request: &mut Request<B>) -> Result<Credentials, VerifyError> {
        strip_identity(request.extensions_mut());
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

    /// Holds the outcome against the policy, and lets the request carry the verdict.
    pub(super) fn admit<B>(
        &self,
        outcome: Outcome,
        presented: Presented,
        request: &mut Request<B>,
    ) -> Result<(), VerifyError> {
        let admit = |active: ActiveToken| self.policy.admit(active, presented.scheme);
        let token = outcome.and_then(admit)?;
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

    fn cover_credentials(&self, headers: &mut HeaderMap) {
        if self.settings.remove_credentials {
            headers.remove(AUTHORIZATION);
        } else if let Some(value) = headers.get_mut(AUTHORIZATION) {
            // Whatever logs headers below this layer shows `Sensitive` instead.
            value.set_sensitive(true);
        }
    }
}

/// Nothing that came with the request may pass for our verdict.
fn strip_identity(extensions: &mut Extensions) {
    extensions.remove::<VerifiedToken>();
    extensions.remove::<Anonymous>();
}
