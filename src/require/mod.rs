//! What a route or a method requires, inside of an [`IntrospectLayer`](crate::IntrospectLayer).
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_introspect::require::{RequireAudience, RequireScope};
//!
//! let app: Router = Router::new()
//!     .route("/payments", get(|| async {}).route_layer(RequireScope::all(["read:payments"])))
//!     .route("/ledger", get(|| async {}).route_layer(RequireAudience::of("https://ledger.example.com")));
//! # let _ = app;
//! ```
//!
//! Without a layer outside that verifies tokens, the answer is 500: a route is never open by
//! mistake.
//!
//! gRPC methods are told apart by their exact path:
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
mod service;

use std::{fmt, sync::Arc};

use http::Extensions;
use tower_layer::Layer;

pub use self::{paths::Paths, service::Require};
use crate::{
    error::VerifyError,
    policy::{Requirement, token_of},
    respond::Auto,
};

/// Refuses requests that do not meet a requirement.
///
/// See the [module docs](self) for examples.
pub struct RequireLayer<R = Auto> {
    rule: Arc<Rule>,
    responder: Arc<R>,
}

#[derive(Debug)]
enum Rule {
    Always(Requirement),
    ByPath(Paths),
}

impl RequireLayer {
    /// Asks the same of every request.
    ///
    /// ```
    /// use tower_introspect::{policy::Requirement, require::RequireLayer};
    ///
    /// let layer = RequireLayer::new(Requirement::any_scope(["read", "admin"]));
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn new(requirement: Requirement) -> Self {
        Self::of(Rule::Always(requirement))
    }

    /// Asks of each request what its path calls for.
    #[must_use]
    pub fn paths(paths: Paths) -> Self {
        Self::of(Rule::ByPath(paths))
    }

    fn of(rule: Rule) -> Self {
        Self { rule: Arc::new(rule), responder: Arc::new(Auto::new()) }
    }
}

impl<R> RequireLayer<R> {
    /// Sets what renders refusals.
    #[must_use]
    pub fn responder<R2>(self, responder: R2) -> RequireLayer<R2> {
        RequireLayer { rule: self.rule, responder: Arc::new(responder) }
    }
}

impl<S, R> Layer<S> for RequireLayer<R> {
    type Service = Require<S, R>;

    fn layer(&self, inner: S) -> Require<S, R> {
        Require::new(inner, self.clone())
    }
}

impl<R> Clone for RequireLayer<R> {
    fn clone(&self) -> Self {
        Self { rule: Arc::clone(&self.rule), responder: Arc::clone(&self.responder) }
    }
}

impl<R> fmt::Debug for RequireLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireLayer").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl Rule {
    fn check(&self, path: &str, extensions: &Extensions) -> Result<(), VerifyError> {
        match self {
            Self::Always(requirement) => requirement.check(token_of(extensions)?),
            Self::ByPath(paths) => paths.check(path, extensions),
        }
    }
}

/// Layers that require scope (RFC 6749 §3.3).
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_introspect::require::RequireScope;
///
/// let handler = service_fn(async |_: Request<String>| {
///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
/// });
/// let service = RequireScope::all(["read", "write"]).layer(handler);
/// # tokio_test::block_on(async {
/// // There is no layer outside that verifies tokens.
/// let response = service.oneshot(Request::new(String::new())).await.unwrap();
/// assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
/// # });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RequireScope {}

impl RequireScope {
    /// Requires every one of these values.
    ///
    /// # Panics
    ///
    /// See [`Requirement::all_scopes`].
    #[must_use]
    pub fn all<'a>(scopes: impl IntoIterator<Item = &'a str>) -> RequireLayer {
        RequireLayer::new(Requirement::all_scopes(scopes))
    }

    /// Requires at least one of these values.
    ///
    /// # Panics
    ///
    /// See [`Requirement::any_scope`].
    #[must_use]
    pub fn any<'a>(scopes: impl IntoIterator<Item = &'a str>) -> RequireLayer {
        RequireLayer::new(Requirement::any_scope(scopes))
    }
}

/// Layers that require an audience (RFC 7519 §4.1.3).
///
/// For routes that stand for a resource with an identifier of its own. The
/// [`Policy`](crate::Policy) of the layer outside asks for the audience of the service in any case.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequireAudience {}

impl RequireAudience {
    /// Requires that the token is meant for `identifier`.
    ///
    /// ```
    /// use tower_introspect::require::RequireAudience;
    ///
    /// let layer = RequireAudience::of("https://ledger.example.com");
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn of(identifier: &str) -> RequireLayer {
        RequireLayer::new(Requirement::audience(identifier))
    }
}
