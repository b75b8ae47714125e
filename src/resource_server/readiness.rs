//! Whether requests should be sent here, for load balancers and whoever rolls out a new version.
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
//!     // For everyone, so after the layer; better still on a port that clients can't reach.
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
//! use tower_introspect::{Issuer, ResourceServer, jwt::{Algorithm, KeySet}};
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

use super::{ResourceServer, issuer::Trusted};
use crate::{clock::Moment, verify::readiness::Readiness};

/// See [`readiness`](self) for examples.
impl ResourceServer {
    /// Tells load balancers whether a good token would be let in. Must not be covered by
    /// [`layer`](Self::layer).
    #[must_use]
    pub fn readiness_service<B: From<Bytes>>(&self) -> ReadinessService<B> {
        self.readiness_service_with(B::from)
    }

    /// The same with a body that is not made by `From`.
    #[must_use]
    pub fn readiness_service_with<B>(&self, body: fn(Bytes) -> B) -> ReadinessService<B> {
        ReadinessService { api: self.clone(), any: false, brief: false, body }
    }
}

/// Answers 200 if a good token of any issuer would be let in, and 503 if not.
///
/// That is so if what tokens are verified with is there: keys, or an introspection endpoint. It does not
/// depend on whether the authorization server answers now. While it does not, tokens that are
/// remembered, and those that are verified by keys, are let in; and as all processes of a service
/// would see the outage, all would be taken from the load balancer at once.
///
/// The authorization server is not asked for the sake of an answer. But what is missing is fetched, in
/// the background, as the first token would have it fetched: else a process that gets no request before
/// it is ready would never be. However often this is called, that is one fetch at a time, with pauses
/// after failures.
///
/// The body is JSON: `{"ready": true, "issuers": [..]}`, and of each issuer
///
/// | member | |
/// |---|---|
/// | `issuer`, `ready` | |
/// | `failure`, `failing_for` | why fetching fails, and for how many seconds; only if it does |
/// | `reachable`, `called_ago` | what came of the last call, and how many seconds ago; only if there was one |
/// | `last_failure` | how that call failed; only if it did |
/// | `breaker` | `closed`, `half_open` or `open`; only where the server is asked about tokens |
/// | `keys_age` | how many seconds ago keys were fetched; only if they were |
///
/// # Security
///
/// It names the issuers, and tells how their servers do. Where anyone can reach it,
/// [`without_details`](Self::without_details) tells less.
///
/// # Clone
///
/// Clones are the same.
pub struct ReadinessService<B> {
    api: ResourceServer,
    any: bool,
    brief: bool,
    body: fn(Bytes) -> B,
}

impl<B> ReadinessService<B> {
    /// Answers 200 as soon as one of the issuers is ready.
    ///
    /// By default all must be, so that no version is rolled out that can't reach one of them. The price is
    /// that with one authorization server down, a process that starts is ready for nobody.
    #[must_use]
    pub fn any_issuer(mut self) -> Self {
        self.any = true;
        self
    }

    /// Answers `{"ready": true}` or `{"ready": false}`, and nothing about issuers.
    #[must_use]
    pub fn without_details(mut self) -> Self {
        self.brief = true;
        self
    }

    fn answer(&self, method: &Method) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        if *method != Method::GET && *method != Method::HEAD {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let states = self.api.readiness();
        for (trusted, state) in self.api.0.issuers.iter().zip(&states) {
            if !state.is_ready() {
                Trusted::begin(trusted);
            }
        }
        // Of no issuers, all are ready: those that a resolver finds come with their tokens.
        let ready = states.is_empty()
            || if self.any {
                states.iter().any(Readiness::is_ready)
            } else {
                states.iter().all(Readiness::is_ready)
            };
        let now = Moment::now(&*self.api.0.clock);
        let issuers =
            (!self.brief).then(|| states.iter().map(|state| Told::of(state, now)).collect());
        // There is no map and no number in it that JSON can't hold.
        let json = serde_json::to_vec(&Answer { ready, issuers }).unwrap_or_default();
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
struct Answer<'a> {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuers: Option<Vec<Told<'a>>>,
}

/// What is told of one issuer.
#[derive(Serialize)]
struct Told<'a> {
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
    keys_age: Option<u64>,
}

impl<'a> Told<'a> {
    fn of(state: &'a Readiness, now: Moment) -> Self {
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
            keys_age: state.keys_age(now).map(seconds),
        }
    }
}

impl<R, B> Service<Request<R>> for ReadinessService<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        ready(Ok(self.answer(request.method()).map(self.body)))
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
            .field("any_issuer", &self.any)
            .finish_non_exhaustive()
    }
}
