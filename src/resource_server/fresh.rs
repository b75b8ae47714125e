//! Layers that require a recent verification of the token.

use std::time::Duration;

use super::server::ResourceServer;
use crate::{
    error::config::ConfigError,
    layer::introspect_layer::IntrospectLayer,
    verify::{boxed::BoxVerifier, request::Freshness},
};

/// Creates layers for routes that need recent facts about the token, such as payments or changes of
/// access rights.
///
/// Apply them inside of [`ResourceServer::layer`]. If the facts are older than the route allows,
/// the token is verified again, and the handler gets the new facts. If they are recent enough, the
/// only cost is another cache look-up.
///
/// ```no_run
/// use std::time::Duration;
/// use axum::{Router, routing::{get, post}};
/// use tower_introspect::{ConfigError, RequireFresh, ResourceServer};
///
/// # fn run(api: ResourceServer) -> Result<Router, ConfigError> {
/// let app = Router::new()
///     .route("/balance", get(|| async {}))
///     .route("/limits", post(|| async {}).route_layer(RequireFresh::within(&api, Duration::from_secs(5))))
///     .route("/transfer", post(|| async {}).route_layer(RequireFresh::live(&api)?))
///     .layer(api.layer());
/// # Ok(app) }
/// ```
///
/// Each is an [`IntrospectLayer`] of its own and reads the token from the request again. Repeat
/// here the settings of the outer layer that say where the token is or what else it must satisfy.
/// The outer layer must not remove the credentials.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequireFresh {}

impl RequireFresh {
    /// Requires facts that are at most `age` old.
    ///
    /// This has no effect on JWTs that are only verified locally: their signature is as valid now
    /// as it was before.
    #[must_use]
    pub fn within(api: &ResourceServer, age: Duration) -> IntrospectLayer<BoxVerifier> {
        api.layer().freshness(Freshness::Within(age))
    }

    /// Requires an introspection for each request.
    ///
    /// # Errors
    ///
    /// Returns an error if the tokens of an issuer can't be introspected.
    pub fn live(api: &ResourceServer) -> Result<IntrospectLayer<BoxVerifier>, ConfigError> {
        let mut problems = ConfigError::new();
        for issuer in api.0.issuers.iter().filter(|issuer| !issuer.is_remote()) {
            never_live(issuer.name(), &mut problems);
        }
        problems.or_ok(api.layer().freshness(Freshness::Live))
    }
}

/// Adds to `problems` that the tokens of an issuer can't be introspected.
pub(super) fn never_live(issuer: &str, problems: &mut ConfigError) {
    problems.push("freshness", format!("`{issuer}` can't be asked for a live answer"));
}
