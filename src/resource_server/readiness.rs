//! A service that tells load balancers and rollouts whether requests should be sent to this
//! process.
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use tower_introspect::{ClientAuth, Issuer, ResourceServer};
//!
//! # fn app(secret: String) -> Result<Router, Box<dyn std::error::Error>> {
//! let api = ResourceServer::builder("https://api.example.com")
//!     .issuer(Issuer::introspect("https://as.example.com", ClientAuth::basic("api", secret)))
//!     .build()?;
//!
//! let app = Router::new()
//!     .route("/payments", get(async || "none"))
//!     .layer(api.layer())
//!     // Open to everyone, so added after the layer. Better on a port that clients can't reach.
//!     .route_service("/ready", api.readiness_service::<Body>());
//! # Ok(app) }
//! ```
//!
//! In plain tower:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_introspect::{Issuer, ResourceServer, jose::Algorithm, jwt::KeySet};
//!
//! let keys = KeySet::from_secret(Algorithm::HS256, &[7; 32])?;
//! let given = Issuer::jwt("https://as.example.com").configure_jwt(|jwt| jwt.keys(keys));
//! let api = ResourceServer::builder("https://api.example.com").issuer(given).build()?;
//!
//! # tokio_test::block_on(async {
//! let response = api.readiness_service::<Bytes>().oneshot(Request::new(())).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! let body = r#"{"ready":true,"issuers":[{"issuer":"https://as.example.com","ready":true}]}"#;
//! assert_eq!(response.body(), body);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use serde::Serialize;
use tower_service::Service;

use super::server::{Parts, ResourceServer};
use crate::{
    clock::Moment,
    revocation::feed::FeedState,
    telemetry::{server_state::ServerState, signal_state::SignalState},
    verify::readiness::Readiness,
};

/// See [`readiness`](self) for examples.
impl<R> ResourceServer<R> {
    /// Returns a service that tells load balancers whether a valid token would be admitted.
    ///
    /// It must not be covered by [`layer`](Self::layer).
    #[must_use]
    pub fn readiness_service<B: From<Bytes>>(&self) -> ReadinessService<B> {
        self.readiness_service_with(B::from)
    }

    /// Returns the same service, with a function that builds the body instead of `From`.
    #[must_use]
    pub fn readiness_service_with<B>(&self, body: fn(Bytes) -> B) -> ReadinessService<B> {
        let api = Arc::clone(&self.0);
        ReadinessService { api, any_issuer: false, without_details: false, body }
    }
}

/// A service that responds with 200 if a valid token of every issuer would be admitted, and with
/// 503 if not.
///
/// An issuer is ready if everything that its tokens are verified with is available: keys, or an
/// introspection endpoint. Readiness does not depend on whether the authorization server responds
/// now. During an outage, cached tokens and tokens that are verified with keys are still admitted.
/// All processes of a service would see the outage, so the load balancer would remove all of them
/// at once.
///
/// A request to this service causes no introspection. Keys and metadata that are missing, or could
/// not be fetched last time, are fetched in the background, as the next token would cause it. Otherwise a process that gets no
/// request before it is ready would never be ready. However often the service is called, there is
/// one fetch at a time, with pauses after failures.
///
/// The body is JSON: `{"ready": true, "issuers": [..]}`. If cutoffs are
/// [shared](crate::resource_server::ResourceServerBuilder::shared), it has `"cutoffs"` too: `current`, or
/// `behind` while those of other instances may be missing, which does not change `ready`. Each issuer has these members:
///
/// | member | meaning |
/// |---|---|
/// | `issuer`, `ready` | the issuer identifier, and true if the issuer is ready |
/// | `failure`, `failing_for` | why fetching fails, and for how many seconds; only if it does |
/// | `reachable` | true if the authorization server responded to the last call; only after a call |
/// | `called_ago` | the seconds since the last call; only after a call |
/// | `last_failure` | how the last call failed; only if it did |
/// | `breaker` | `closed`, `half_open` or `open`; only if tokens are introspected |
/// | `server` | the [state](ServerState) of the introspection endpoint; only if it does not answer as it should |
/// | `signals` | `fresh` or `stale`; only if signals about its tokens are received and their sender shows that they arrive, or one was lost |
/// | `keys_age` | the seconds since the keys were fetched; only if they were |
///
/// # Security
///
/// The body names the issuers and shows the state of their servers. Where anyone can reach the
/// service, use [`without_details`](Self::without_details).
///
/// # Clone
///
/// Clones share the resource server and have the same settings.
pub struct ReadinessService<B> {
    api: Arc<Parts>,
    any_issuer: bool,
    without_details: bool,
    body: fn(Bytes) -> B,
}

impl<B> ReadinessService<B> {
    /// Responds with 200 as soon as one of the issuers is ready.
    ///
    /// By default all must be ready, so that a rollout stops if the new version can't reach one of
    /// them. The price is that, while one authorization server is down, a new process is not ready
    /// for any issuer.
    #[must_use]
    pub fn any_issuer(mut self) -> Self {
        self.any_issuer = true;
        self
    }

    /// Responds with `{"ready": true}` or `{"ready": false}` only, without details of the issuers.
    #[must_use]
    pub fn without_details(mut self) -> Self {
        self.without_details = true;
        self
    }

    fn respond(&self, method: &Method) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        if *method != Method::GET && *method != Method::HEAD {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let states = self.api.readiness();
        for (issuer, state) in self.api.issuers.iter().zip(&states) {
            // A failure is reported until a fetch succeeds, so the next fetch must not wait for a
            // token.
            if !state.is_ready() || state.failure().is_some() {
                issuer.start_fetching();
            }
        }
        // No configured issuer means ready: a resolver finds issuers when their tokens arrive.
        let ready = states.is_empty()
            || if self.any_issuer {
                states.iter().any(Readiness::is_ready)
            } else {
                states.iter().all(Readiness::is_ready)
            };
        let now = Moment::now(&*self.api.clock);
        let issuers = (!self.without_details)
            .then(|| states.iter().map(|state| IssuerStatus::new(state, now)).collect());
        let feed = self.api.revocations.feed_state();
        let cutoffs = feed.map(FeedState::as_str).filter(|_| !self.without_details);
        // Serialization can't fail: there is no map and no number that JSON can't hold.
        let json = serde_json::to_vec(&StatusBody { ready, issuers, cutoffs }).unwrap_or_default();
        if !ready {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, json.len().into());
        if *method == Method::GET {
            *response.body_mut() = json.into();
        }
        response
    }
}

#[derive(Serialize)]
struct StatusBody<'a> {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuers: Option<Vec<IssuerStatus<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cutoffs: Option<&'static str>,
}

/// The state of one issuer, as in the body.
#[derive(Serialize)]
struct IssuerStatus<'a> {
    issuer: &'a str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_for: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reachable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    called_ago: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signals: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_age: Option<u64>,
}

impl<'a> IssuerStatus<'a> {
    fn new(state: &'a Readiness, now: Moment) -> Self {
        let seconds = |age: Duration| age.as_secs();
        let (called_ago, failing_for) = state.ages(now);
        Self {
            issuer: state.issuer(),
            ready: state.is_ready(),
            failure: state.failure().map(|kind| kind.reason()),
            failing_for: failing_for.map(seconds),
            reachable: state.is_reachable(),
            called_ago: called_ago.map(seconds),
            last_failure: state.last_call_failure().map(|kind| kind.reason()),
            breaker: state.breaker().map(|breaker| breaker.as_str()),
            server: state.server().filter(is_problem).map(ServerState::as_str),
            signals: state.signals().map(SignalState::as_str),
            keys_age: state.keys_age(now).map(seconds),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "`Option::filter` passes a reference")]
const fn is_problem(state: &ServerState) -> bool {
    !matches!(state, ServerState::Unknown | ServerState::Answers)
}

impl<R, B> Service<Request<R>> for ReadinessService<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        ready(Ok(self.respond(request.method()).map(self.body)))
    }
}

impl<B> Clone for ReadinessService<B> {
    fn clone(&self) -> Self {
        Self { api: self.api.clone(), ..*self }
    }
}

impl<B> fmt::Debug for ReadinessService<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadinessService")
            .field("api", &self.api)
            .field("any_issuer", &self.any_issuer)
            .finish_non_exhaustive()
    }
}
