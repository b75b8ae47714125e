//! Middleware that verifies the token of each request and checks it against a policy.
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
//! hyper serves such a service once it is wrapped in `hyper_util::service::TowerToHyperService`, with the
//! feature `service` of hyper-util.
//!
//! # Services that do not serve gRPC
//!
//! By default the layer answers clients in the protocol that they speak, and a refusal in gRPC has
//! the HTTP status 200. A POST whose `Content-Type` is exactly that of gRPC or gRPC-Web
//! ([`RequestHead::is_grpc`](crate::credentials::RequestHead::is_grpc)) is enough to get one. A plain
//! HTTP service sets a responder that never answers in gRPC: [`HttpOnly`](crate::respond::HttpOnly),
//! or [`ProblemJson::http_only`](crate::respond::ProblemJson::http_only).
//!
//! ```
//! use http::{Request, StatusCode, Version};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_introspect::{
//!     ErrorKind, IntrospectLayer, Policy, respond::HttpOnly, verify::verify_fn,
//! };
//!
//! let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
//! let layer = IntrospectLayer::new(closed, Policy::new("https://api.example.com"))
//!     .responder(HttpOnly::new());
//!
//! let service = layer.layer(service_fn(async |_: Request<()>| {
//!     Ok::<_, std::convert::Infallible>(http::Response::new(()))
//! }));
//! # tokio_test::block_on(async {
//! let request = Request::post("/").version(Version::HTTP_2).header("content-type", "application/grpc");
//! assert_eq!(service.oneshot(request.body(())?).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! Requirements, extractors and handlers inside of the layer refuse by its responder, unless a
//! [`RequireLayer`](crate::require::RequireLayer) has one of its own.
//!
//! # Uploads
//!
//! A refusal is sent without reading the body of the request. Over HTTP/1.1 a client or a proxy that is
//! still writing a long body may not get it. [`refused_body`](crate::respond::refused_body) has a layer
//! that reads the body first, up to a limit.
//!
//! # Differences from similar middleware
//!
//! * `tower_http::auth` compares one fixed secret, or passes the whole request to a closure. Its
//!   refusals carry no challenge.
//! * `tower::filter::AsyncFilter` moves the ready service into its future. Requests that are still
//!   being verified then hold the permits of a `ConcurrencyLimit` below. This layer gives the
//!   permits back until the token is verified.
//! * An interceptor of tonic can't wait. [`tonic`](crate::tonic) has one for tokens that can be
//!   verified at once.

mod admit;
mod cache_control;
mod decision_age;
mod edits;
pub(crate) mod forward;
pub mod future;
pub(crate) mod introspect_layer;
mod leasing;
pub(crate) mod service;
pub(crate) mod settings;
mod span;
mod waiting;

pub use self::{forward::headers::ForwardHeaders, service::Introspect};
