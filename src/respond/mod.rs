//! Rendering of refusals as HTTP and gRPC responses.
//!
//! One table maps each [`ErrorKind`](crate::ErrorKind) to a response over HTTP and over gRPC.
//! [`Auto`] renders it with an empty body, so it fits every body type. [`HttpOnly`] does the same and
//! never in gRPC. [`ProblemJson`] adds a body where the type can carry one. A closure, or any type
//! that implements [`Respond`], can render another response. The
//! [`VerifyError`](crate::VerifyError) is stored in the extensions of the response in any case.
//!
//! ```
//! use http::{HeaderMap, Method, Response, StatusCode, Uri, header::WWW_AUTHENTICATE};
//! use tower_introspect::{
//!     ErrorKind, VerifyError,
//!     credentials::RequestHead,
//!     respond::{Auto, Challenge, Refusal, Respond},
//! };
//!
//! let (method, uri, headers) = (Method::GET, Uri::from_static("/"), HeaderMap::new());
//! let head = RequestHead::new(&method, &uri, &headers);
//! let error = VerifyError::new(ErrorKind::Expired);
//! let challenge = Challenge::new("https://api.example.com");
//!
//! let response: Response<String> = Auto::new().respond(&Refusal::new(&error, head, &challenge));
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(
//!     response.headers()[WWW_AUTHENTICATE],
//!     "Bearer realm=\"https://api.example.com\", error=\"invalid_token\""
//! );
//! ```
//!
//! A responder that keeps the status and the headers, and adds a body:
//!
//! ```
//! use http::Response;
//! use tower_introspect::respond::{Refusal, Respond};
//!
//! let responder = |refusal: &Refusal<'_>| -> Response<String> {
//!     refusal.http().map(|_: String| format!("refused: {}", refusal.error().kind().reason()))
//! };
//! fn is_responder<R: Respond<String>>(_: &R) {}
//! is_responder(&responder);
//! ```

pub(crate) mod challenge;
mod grpc;
pub(crate) mod hook;
pub(crate) mod http;
pub(crate) mod inner_refusal;
mod problem;
pub(crate) mod refusal;
pub mod refused_body;
pub(crate) mod responder;
pub(crate) mod table;

pub use self::{
    challenge::Challenge,
    problem::ProblemJson,
    refusal::Refusal,
    responder::{Auto, HttpOnly, Respond},
};
