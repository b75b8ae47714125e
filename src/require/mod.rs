//! Middleware that enforces the requirements of a route or method, inside of an
//! [`IntrospectLayer`](crate::IntrospectLayer).
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_introspect::{RequireScope, require::RequireLayer};
//!
//! let app: Router = Router::new()
//!     .route("/payments", get(|| async {}).route_layer(RequireScope::all(["read:payments"])))
//!     .route("/ledger", get(|| async {}).route_layer(RequireLayer::audience("https://ledger.example.com")));
//! # let _ = app;
//! ```
//!
//! Requests that no outer layer has verified are refused with 500, so that no route is open by
//! mistake.
//!
//! gRPC methods are distinguished by their exact path:
//!
//! ```
//! use tower_introspect::{policy::Requirement, require::{Paths, RequireLayer}};
//!
//! let methods = Paths::deny_by_default()
//!     .public("/grpc.health.v1.Health/Check")
//!     .require("/bank.Payments/List", Requirement::all_scopes(["read:payments"]));
//! let layer = RequireLayer::paths(methods);
//! # let _ = layer;
//! ```

pub mod future;
mod paths;
pub(crate) mod require_layer;
pub(crate) mod service;

pub use self::{paths::Paths, require_layer::RequireLayer, service::Require};
