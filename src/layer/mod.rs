//! The middleware: takes the token off each request, has it verified, holds it against the policy.
//!
//! ```
//! use http::{Request, Response, StatusCode, header::WWW_AUTHENTICATE};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_introspect::{
//!     ErrorKind, IntrospectLayer, Policy, VerifiedToken, VerifyError,
//!     claims::Claims,
//!     clock::{Moment, SystemClock},
//!     verify::{ActiveToken, Method, verify_fn},
//! };
//!
//! let verifier = verify_fn(async |_| {
//!     let claims = Claims::from_json(br#"{"sub": "alice", "aud": "https://api.example.com"}"#);
//!     let claims = claims.map_err(|_| VerifyError::new(ErrorKind::BadResponse))?;
//!     let verified_at = Moment::now(&SystemClock);
//!     Ok(ActiveToken::new("https://as.example.com", claims, Method::Custom, verified_at))
//! });
//! let layer = IntrospectLayer::new(verifier, Policy::new("https://api.example.com"));
//!
//! let handler = service_fn(async |request: Request<String>| {
//!     let token = request.extensions().get::<VerifiedToken>().expect("behind the layer");
//!     Ok::<_, std::convert::Infallible>(Response::new(format!("hello {:?}", token.subject())))
//! });
//! let service = layer.layer(handler);
//!
//! # tokio_test::block_on(async {
//! let request = Request::get("/").header("authorization", "Bearer abc").body(String::new())?;
//! assert_eq!(service.clone().oneshot(request).await?.body(), "hello Some(\"alice\")");
//!
//! let refused = service.oneshot(Request::get("/").body(String::new())?).await?;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Bearer realm=\"https://api.example.com\"");
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Differences from its neighbours
//!
//! * `tower_http::auth` compares one fixed secret, or hands the whole request to a closure of
//!   yours. It answers without a challenge.
//! * `tower::filter::AsyncFilter` moves the ready service into its future: requests that are still
//!   being verified then hold the permits of a `ConcurrencyLimit` below. This layer lets go of them
//!   until the token is verified.
//! * An interceptor of tonic can't wait. [`tonic`](crate::tonic) has one for tokens that can be
//!   verified at once.

mod admit;
pub(crate) mod forward;
pub mod future;
pub(crate) mod service;
mod slow;

use std::{fmt, sync::Arc};

use tower_layer::Layer;

pub use self::{forward::ForwardHeaders, service::Introspect};
use crate::{
    credentials::extract::Extractor,
    policy::Policy,
    respond::{Auto, Refusal, RequestHead, hook::RefusalHook},
    upstream::budget::PeerKey,
    verify::request::Freshness,
};

/// Makes the services below it reachable with a verified token only.
///
/// Its requests carry a [`VerifiedToken`](crate::VerifiedToken) in their extensions. See the
/// [module docs](self) for an example.
///
/// # Clone
///
/// Clones, and all services made by them, share the verifier.
pub struct IntrospectLayer<V, R = Auto> {
    verifier: Arc<V>,
    responder: Arc<R>,
    policy: Arc<Policy>,
    settings: Settings,
}

/// What can be set apart from verifier, policy and responder.
#[derive(Clone)]
struct Settings {
    extractor: Extractor,
    optional: bool,
    exempt: Option<Arc<Exempt>>,
    freshness: Arc<FreshnessOf>,
    peer: Option<Arc<PeerOf>>,
    forward: Option<Arc<ForwardHeaders>>,
    remove_credentials: bool,
    hook: Option<RefusalHook>,
    log_subjects: bool,
}

type Exempt = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;
pub(crate) type PeerOf = dyn Fn(RequestHead<'_>) -> Option<PeerKey> + Send + Sync;
type FreshnessOf = dyn Fn(RequestHead<'_>) -> Freshness + Send + Sync;

impl<V> IntrospectLayer<V> {
    /// Requires a token that `verifier` verifies and `policy` admits.
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
                hook: None,
                log_subjects: false,
            },
        }
    }
}

impl<V, R> IntrospectLayer<V, R> {
    /// Also lets requests through that carry no credentials at all.
    ///
    /// Handlers tell them apart by [`Identity`](crate::Identity). Credentials that are there but
    /// bad, or of another scheme, are still refused.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.settings.optional = true;
        self
    }

    /// Does not look at the credentials of requests for which `exempt` is true: health checks, say,
    /// or CORS preflights. Handlers see them as [`Identity::Anonymous`](crate::Identity).
    ///
    /// # Security
    ///
    /// Prefer to leave public routes outside of the layer: a path that is compared here can be
    /// spelled in ways that the router below reads otherwise.
    #[must_use]
    pub fn exempt<F>(mut self, exempt: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    {
        self.settings.exempt = Some(Arc::new(exempt));
        self
    }

    /// Sets where tokens are taken from.
    #[must_use]
    pub fn extractor(mut self, extractor: Extractor) -> Self {
        self.settings.extractor = extractor;
        self
    }

    /// Sets how recently a token must have been verified.
    #[must_use]
    pub fn freshness(self, freshness: Freshness) -> Self {
        self.freshness_fn(move |_| freshness)
    }

    /// Sets how recently a token must have been verified, request by request.
    #[must_use]
    pub fn freshness_fn<F>(mut self, freshness: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Freshness + Send + Sync + 'static,
    {
        self.settings.freshness = Arc::new(freshness);
        self
    }

    /// Says who sends a request, for a [`MissBudgetLayer`](crate::verify::MissBudgetLayer) among the
    /// verifiers: its address, say.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_introspect::{
    ///     ErrorKind, IntrospectLayer, Policy,
    ///     verify::{PeerKey, verify_fn},
    /// };
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

    /// Has requests tell in these headers what was verified, for a service that passes them on.
    ///
    /// What clients send under these names is removed from all requests. See [`ForwardHeaders`].
    ///
    /// A layer inside of this one that verifies again, such as `RequireFresh`, must forward the same
    /// headers, or they go on telling what was known before. Set on a `ResourceServer`, they are those
    /// of all its layers.
    #[must_use]
    pub fn forward(mut self, headers: ForwardHeaders) -> Self {
        self.settings.forward = Some(Arc::new(headers));
        self
    }

    /// Takes the `Authorization` header off requests before they go on, and with it the proof of
    /// possession, so that nothing below can pass the token on (RFC 9700 §4.9.1).
    #[must_use]
    pub fn remove_credentials(mut self) -> Self {
        self.settings.remove_credentials = true;
        self
    }

    /// Calls `hook` once for each request that is refused, by this layer or by what is asked of the
    /// request further in: requirements, extractors, interceptors. One that was let through without
    /// credentials counts too.
    ///
    /// The hook sees the refusal before it is rendered, and can't change it. What is refused further in
    /// by a layer with a hook of its own is told to that one only. Interceptors of tonic don't know the
    /// head of the request.
    ///
    /// ```
    /// use tower_introspect::{
    ///     ErrorKind, IntrospectLayer, Policy, respond::Refusal, verify::verify_fn,
    /// };
    ///
    /// let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
    /// let layer = IntrospectLayer::new(closed, Policy::new("https://api.example.com")).on_refusal(
    ///     |refusal: &Refusal<'_>| {
    ///         // To an audit trail, say.
    ///         eprintln!("{} {}", refusal.head().uri().path(), refusal.error().kind().reason());
    ///     },
    /// );
    /// # let _ = layer;
    /// ```
    ///
    /// It runs where the request does, and anyone can cause it at will: it must be quick, and whatever
    /// it writes must be bounded.
    ///
    /// # Panics
    ///
    /// If the hook panics, that is reported as an event, and the request is refused all the same.
    ///
    /// # Security
    ///
    /// The head of the request holds the token, and whatever else the client sent.
    #[must_use]
    pub fn on_refusal<F>(self, hook: F) -> Self
    where
        F: Fn(&Refusal<'_>) + Send + Sync + 'static,
    {
        self.refusal_hook(RefusalHook::new(hook))
    }

    pub(crate) fn refusal_hook(mut self, hook: RefusalHook) -> Self {
        self.settings.hook = Some(hook);
        self
    }

    /// Shows the subject of tokens in events and spans, cut to 128 bytes: of those that were verified
    /// and then refused, and of those that took time to verify. By default it is not shown.
    ///
    /// # Security
    ///
    /// Who it is that makes requests is then in the log, for as long as that is kept.
    #[must_use]
    pub fn log_subjects(mut self) -> Self {
        self.settings.log_subjects = true;
        self
    }

    /// Sets what renders refusals.
    #[must_use]
    pub fn responder<R2>(self, responder: R2) -> IntrospectLayer<V, R2> {
        let Self { verifier, policy, settings, .. } = self;
        IntrospectLayer { verifier, responder: Arc::new(responder), policy, settings }
    }
}

impl<S, V, R> Layer<S> for IntrospectLayer<V, R> {
    type Service = Introspect<S, V, R>;

    fn layer(&self, inner: S) -> Introspect<S, V, R> {
        Introspect::new(inner, Arc::new(self.clone()))
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
