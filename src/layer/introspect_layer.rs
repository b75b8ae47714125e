//! The layer and its settings.

use std::{fmt, sync::Arc};

use super::{forward::headers::ForwardHeaders, settings::Settings};
#[cfg(feature = "_crypto")]
use crate::lease::leases::Lessor;
use crate::{
    credentials::{extract::Extractor, head::RequestHead},
    policy::settings::Policy,
    respond::{hook::RefusalHook, refusal::Refusal, responder::Auto},
    verify::{peer::PeerKey, request::Freshness},
};

/// A layer that only lets requests with a verified token through.
///
/// The requests that reach the inner service carry a [`VerifiedToken`](crate::VerifiedToken) in
/// their extensions. See the [module docs](super) for an example.
///
/// # Clone
///
/// Clones share the verifier, and so do all services made by them.
pub struct IntrospectLayer<V, R = Auto> {
    pub(super) verifier: Arc<V>,
    pub(super) responder: Arc<R>,
    pub(super) policy: Arc<Policy>,
    pub(super) settings: Settings,
}

impl<V> IntrospectLayer<V> {
    /// Creates a layer that requires a token that `verifier` verifies and `policy` admits.
    #[must_use]
    pub fn new(verifier: V, policy: Policy) -> Self {
        Self {
            verifier: Arc::new(verifier),
            responder: Arc::new(Auto::new()),
            policy: Arc::new(policy),
            settings: Settings {
                extractor: Extractor::new(),
                optional: false,
                exempt: None,
                freshness: Arc::new(|_| Freshness::Cached),
                peer: None,
                forward: None,
                remove_credentials: false,
                log_subjects: false,
                #[cfg(feature = "_crypto")]
                leases: None,
            },
        }
    }
}

impl<V, R> IntrospectLayer<V, R> {
    /// Also admits requests that carry no credentials at all.
    ///
    /// Handlers tell them apart by [`Identity`](crate::Identity). An `Authorization` field without a
    /// value counts as no credentials. Credentials that are present but invalid, or of another scheme,
    /// are still refused.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.settings.optional = true;
        self
    }

    /// Ignores the credentials of requests for which `exempt` returns true.
    ///
    /// Health checks and CORS preflights are examples. Handlers see such requests as
    /// [`Identity::Anonymous`](crate::Identity).
    ///
    /// # Security
    ///
    /// Prefer to leave public routes outside of the layer. The router below may read a path
    /// differently from a comparison made here, because one path can be spelled in several ways.
    #[must_use]
    pub fn exempt<F>(mut self, exempt: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    {
        self.settings.exempt = Some(Arc::new(exempt));
        self
    }

    /// Sets where in a request tokens are looked for. Default: the `Authorization` header only.
    #[must_use]
    pub fn extractor(mut self, extractor: Extractor) -> Self {
        self.settings.extractor = extractor;
        self
    }

    /// Sets how recently a token must have been verified. Default: [`Freshness::Cached`].
    #[must_use]
    pub fn freshness(self, freshness: Freshness) -> Self {
        self.freshness_fn(move |_| freshness)
    }

    /// Sets how recently a token must have been verified, for each request.
    #[must_use]
    pub fn freshness_fn<F>(mut self, freshness: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Freshness + Send + Sync + 'static,
    {
        self.settings.freshness = Arc::new(freshness);
        self
    }

    /// Sets a function that identifies the sender of a request, for example by its address.
    ///
    /// A [`MissBudgetLayer`](crate::upstream::MissBudgetLayer) among the verifiers counts by this
    /// key.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_introspect::{ErrorKind, IntrospectLayer, Policy, verify::{PeerKey, verify_fn}};
    ///
    /// let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
    /// // For `axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())`.
    /// let layer = IntrospectLayer::new(closed, Policy::new("https://api.example.com")).peer_fn(|head| {
    ///     let ConnectInfo(address) = head.extension::<ConnectInfo<SocketAddr>>()?;
    ///     Some(PeerKey::address(address.ip()))
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn peer_fn<F>(mut self, peer: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<PeerKey> + Send + Sync + 'static,
    {
        self.settings.peer = Some(Arc::new(peer));
        self
    }

    /// Writes verified claims into these request headers, for a service that passes requests on.
    ///
    /// Headers of these names that a client sends are removed from all requests. See
    /// [`ForwardHeaders`].
    ///
    /// An inner layer that verifies again, such as `ResourceServer::fresh_layer`, must forward the same headers.
    /// Otherwise they keep the claims of the earlier verification. Set on a `ResourceServer`, they
    /// apply to all its layers.
    #[must_use]
    pub fn forward(mut self, headers: ForwardHeaders) -> Self {
        self.settings.forward = Some(Arc::new(headers));
        self
    }

    /// Removes the credentials from requests before they go on.
    ///
    /// A service below then can't pass on the token (RFC 9700 §4.9.1). This removes the
    /// `Authorization` and `DPoP` headers. From the places that the [extractor](Self::extractor)
    /// reads besides, it removes the other header, the cookie, the parameter of the query, or the
    /// entry of `Sec-WebSocket-Protocol`, and keeps everything else that is there.
    ///
    /// By default the credentials stay, and the header fields that hold them are marked as
    /// [sensitive](http::HeaderValue::set_sensitive): their `Debug` output shows no value. A URI can't be
    /// marked. A token in the query is shown by the `Debug` output of the URI, unless it is removed.
    #[must_use]
    pub fn remove_credentials(mut self) -> Self {
        self.settings.remove_credentials = true;
        self
    }

    /// Calls `hook` once for each refused request.
    ///
    /// The refusal may come from this layer, or from a requirement, an extractor, a handler or an
    /// interceptor further in. A request that was admitted without credentials and is refused by an
    /// inner service counts too.
    ///
    /// The hook sees the refusal before it is rendered, and can't change it. An inner layer with a
    /// hook of its own reports its refusals to that hook only. The head of the request is incomplete
    /// in two cases. Of a refusal by an interceptor or handler of tonic it has the extensions alone.
    /// Where an axum handler returns a [`VerifyError`](crate::VerifyError), it has the method and the
    /// URI alone; `axum::RequestExt` makes refusals with the whole head.
    ///
    /// ```
    /// use tower_introspect::{
    ///     ErrorKind, IntrospectLayer, Policy, respond::Refusal, verify::verify_fn,
    /// };
    ///
    /// let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
    /// let layer = IntrospectLayer::new(closed, Policy::new("https://api.example.com")).on_refusal(
    ///     |refusal: &Refusal<'_>| {
    /// // For example, to an audit trail.
    ///         eprintln!("{} {}", refusal.head().uri().path(), refusal.error().kind().reason());
    ///     },
    /// );
    /// # let _ = layer;
    /// ```
    ///
    /// The hook runs on the task of the request, and any client can trigger it at will. It must be
    /// quick, and must bound what it writes.
    ///
    /// # Panics
    ///
    /// A panic of the hook is caught and reported as an event. The request is refused all the same.
    ///
    /// # Security
    ///
    /// The head of the request holds the token and everything else the client sent.
    #[must_use]
    pub fn on_refusal<F>(self, hook: F) -> Self
    where
        F: Fn(&Refusal<'_>) + Send + Sync + 'static,
    {
        self.refusal_hook(RefusalHook::new(hook))
    }

    pub(crate) fn refusal_hook(mut self, hook: RefusalHook) -> Self {
        self.policy = Arc::new(Arc::unwrap_or_clone(self.policy).refusal_hook(hook));
        self
    }

    /// Records the subject of tokens in events and spans, cut to 128 bytes. Off by default.
    ///
    /// The subject appears in the event of a refusal after verification, in the span of a
    /// verification that took time, and in the field `subject` of the span around the layer, if that
    /// span declares it. So requests have it in their traces where the outer layer makes such a span,
    /// as [here](crate::docs::operations#events).
    ///
    /// # Security
    ///
    /// The log then identifies users for as long as it is kept.
    #[must_use]
    pub fn log_subjects(mut self) -> Self {
        self.settings.log_subjects = true;
        self
    }

    /// Opens a lease for each request that is admitted by a token.
    #[cfg(feature = "_crypto")]
    pub(crate) fn opening_leases(mut self, lessor: Lessor) -> Self {
        self.settings.leases = Some(lessor);
        self
    }

    #[cfg(feature = "_crypto")]
    pub(crate) const fn shared_policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Returns the length of the longest token that requests may have.
    #[cfg(feature = "_crypto")]
    pub(crate) const fn longest_token(&self) -> usize {
        self.settings.extractor.longest_token()
    }

    /// Sets the responder that renders refusals. Default: [`Auto`].
    ///
    /// It also renders the refusals of requirements, extractors and handlers further in. A
    /// [`RequireLayer`](crate::require::RequireLayer) may have a responder of its own for its refusals.
    #[must_use]
    pub fn responder<R2>(self, responder: R2) -> IntrospectLayer<V, R2> {
        self.shared_responder(Arc::new(responder))
    }

    pub(crate) fn shared_responder<R2>(self, responder: Arc<R2>) -> IntrospectLayer<V, R2> {
        let Self { verifier, policy, settings, .. } = self;
        IntrospectLayer { verifier, responder, policy, settings }
    }
}

impl<V, R> Clone for IntrospectLayer<V, R> {
    fn clone(&self) -> Self {
        Self {
            verifier: Arc::clone(&self.verifier),
            responder: Arc::clone(&self.responder),
            policy: Arc::clone(&self.policy),
            settings: self.settings.clone(),
        }
    }
}

impl<V, R> fmt::Debug for IntrospectLayer<V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectLayer")
            .field("policy", &self.policy)
            .field("optional", &self.settings.optional)
            .finish_non_exhaustive()
    }
}
