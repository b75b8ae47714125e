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
mod edits;
pub(crate) mod forward;
pub mod future;
pub(crate) mod introspect_layer;
pub(crate) mod service;
pub(crate) mod settings;
mod span;

pub use self::{forward::headers::ForwardHeaders, service::Introspect};
