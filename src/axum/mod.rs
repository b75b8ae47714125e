//! Extractors for axum handlers, and refusals by handlers.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_introspect::{Identity, VerifiedToken, axum::Claims};
//!
//! #[derive(serde::Deserialize)]
//! struct Tenant {
//!     tenant: u64,
//! }
//!
//! async fn me(token: VerifiedToken) -> String {
//!     format!("{:?} of {}", token.subject(), token.issuer())
//! }
//!
//! async fn tenant(Claims(tenant): Claims<Tenant>) -> String {
//!     tenant.tenant.to_string()
//! }
//!
//! async fn hello(token: Option<VerifiedToken>) -> &'static str {
//!     if token.is_some() { "hello again" } else { "hello" }
//! }
//!
//! let app: Router = Router::new()
//!     .route("/me", get(me))
//!     .route("/tenant", get(tenant))
//!     .route("/", get(hello));
//! # let _ = app;
//! ```
//!
//! These extractors need an [`IntrospectLayer`](crate::IntrospectLayer) outside, and refuse with
//! 500 without one. `Option<VerifiedToken>` is `None` only if that layer admitted the request
//! without credentials.
//!
//! # Refusals by handlers
//!
//! A handler refuses by returning a [`VerifyError`](crate::VerifyError) or a [`Rejection`]. The client
//! gets the response that the layer would make: its challenge, and the body of its responder. The hook
//! and the metrics see the refusal, and none of the words of the error reach the client.
//!
//! ```
//! use axum::{Router, extract::Path, http::request::Parts, routing::{delete, get}};
//! use tower_introspect::{
//!     ErrorKind, VerifiedToken, VerifyError,
//!     axum::{Rejection, RequestExt as _},
//!     policy::Requirement,
//! };
//!
//! async fn remove(Path(owner): Path<String>, token: VerifiedToken) -> Result<(), VerifyError> {
//!     if token.subject() != Some(&owner) {
//!         return Err(ErrorKind::Denied.into());
//!     }
//!     Ok(())
//! }
//!
//! async fn read(Path(tenant): Path<String>, request: Parts) -> Result<String, Rejection> {
//!     let token = request.require(&Requirement::claim_is("tenant", &tenant))?;
//!     Ok(format!("{:?} of {tenant}", token.subject()))
//! }
//!
//! let app: Router = Router::new()
//!     .route("/files/{owner}", delete(remove))
//!     .route("/tenants/{tenant}", get(read));
//! # let _ = app;
//! ```
//!
//! A refusal that is made with the request at hand, by [`RequestExt`], names the scope of the
//! requirements that were met before, and shows the head of the request to the hook and the responder.
//! For a [`VerifyError`](crate::VerifyError) they see the method and the URI at most, and only if there is a hook.

mod claims;
#[cfg(feature = "_crypto")]
mod lease;
mod rejection;
mod request_ext;
mod scoped;
mod token;

pub use self::{
    claims::Claims,
    rejection::Rejection,
    request_ext::RequestExt,
    scoped::{ScopeSet, Scoped},
};
