//! Layers that require a recent verification of the token.

use std::time::Duration;

use super::server::ResourceServer;
use crate::{
    error::config::ConfigError,
    layer::introspect_layer::IntrospectLayer,
    verify::{boxed::BoxVerifier, request::Freshness},
};

/// Layers for routes that need recent facts about the token, such as payments or changes of access
/// rights.
impl<R> ResourceServer<R> {
    /// Returns a layer that requires facts that are at most `age` old.
    ///
    /// Apply it inside of [`layer`](Self::layer). If the facts are older than the route allows, the
    /// token is verified again, and the handler gets the new facts. If they are recent enough, the
    /// only cost is another cache look-up. So it is if the outer layer has just had the token
    /// verified at the authorization server for this very request, however long that took. It has no
    /// effect on JWTs that are only verified locally: their signature is as valid now as it was
    /// before.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use axum::{Router, routing::{get, post}};
    /// use tower_introspect::{ConfigError, ResourceServer};
    ///
    /// # fn run(api: ResourceServer) -> Result<Router, ConfigError> {
    /// let app = Router::new()
    ///     .route("/balance", get(|| async {}))
    ///     .route("/limits", post(|| async {}).route_layer(api.fresh_layer(Duration::from_secs(5))))
    ///     .route("/transfer", post(|| async {}).route_layer(api.live_layer()?))
    ///     .layer(api.layer());
    /// # Ok(app) }
    /// ```
    ///
    /// The layer is an [`IntrospectLayer`] of its own and reads the token from the request again.
    /// Repeat here the settings of the outer layer that say where the token is or what else it must
    /// satisfy. The outer layer must not remove the credentials.
    #[must_use]
    pub fn fresh_layer(&self, age: Duration) -> IntrospectLayer<BoxVerifier, R> {
        self.layer().freshness(Freshness::Within(age))
    }

    /// Returns a layer that has the token introspected for each request. It belongs where
    /// [`fresh_layer`](Self::fresh_layer) does.
    ///
    /// It does so itself unless the outer layer just did. That takes a cache. A verification that
    /// another request started earlier does not count.
    ///
    /// # Errors
    ///
    /// Returns an error if the tokens of an issuer can't be introspected. A custom issuer is asked
    /// instead.
    pub fn live_layer(&self) -> Result<IntrospectLayer<BoxVerifier, R>, ConfigError> {
        let mut problems = ConfigError::new();
        for issuer in self.0.issuers.iter().filter(|issuer| !issuer.asks()) {
            push_live_problem(issuer.name(), &mut problems);
        }
        problems.or_ok(self.layer().freshness(Freshness::Live))
    }
}

/// Adds to `problems` that the tokens of an issuer can't be introspected.
pub(super) fn push_live_problem(issuer: &str, problems: &mut ConfigError) {
    let problem =
        format!("tokens of `{issuer}` can't be introspected, so `Freshness::Live` is impossible");
    problems.push("freshness", problem);
}
