use std::time::Duration;

use super::{ResourceServer, issuer::Trusted};
use crate::{
    error::config::ConfigError,
    layer::IntrospectLayer,
    verify::{boxed::BoxVerifier, request::Freshness},
};

/// Layers for routes that want to know better: money leaves, access rights change.
///
/// Inside of [`ResourceServer::layer`]. The token is verified again if what is known of it is older
/// than the route wants, and what the handler gets is what was found then. Where what is known will
/// do, that costs another look-up and nothing else.
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
/// It is an [`IntrospectLayer`] of its own, and takes the token off the request again: settings of
/// the layer outside that say where the token is, or what is asked of it besides, are to be made here
/// too, and the one outside must not remove the credentials.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequireFresh {}

impl RequireFresh {
    /// Wants facts at most `age` old. Says nothing about JWTs that are verified locally alone: a
    /// signature is as good now as it was.
    #[must_use]
    pub fn within(api: &ResourceServer, age: Duration) -> IntrospectLayer<BoxVerifier> {
        api.layer().freshness(Freshness::Within(age))
    }

    /// Wants the authorization server to be asked about each request.
    ///
    /// # Errors
    ///
    /// If there is an issuer that can't be asked.
    pub fn live(api: &ResourceServer) -> Result<IntrospectLayer<BoxVerifier>, ConfigError> {
        let mut problems = ConfigError::new();
        for issuer in api.0.issuers.iter().filter(|issuer| !issuer.is_remote()) {
            let problem = format!("`{}` can't be asked for a live answer", Trusted::name(issuer));
            problems.push("freshness", problem);
        }
        problems.or_ok(api.layer().freshness(Freshness::Live))
    }
}
