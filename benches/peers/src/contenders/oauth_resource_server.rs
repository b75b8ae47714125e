//! `oauth-resource-server`: a layer, keys loaded at the start and every hour. No memory of tokens.

use std::sync::Arc;

use oauth_resource_server::{KeyNaming, OAuthConfig, OAuthValidator, axum::AuthLayer};
use tower_introspect::jose::Algorithm;

use super::{Built, Contender, plain, reason};
use crate::authority::{AUDIENCE, Authority};

pub const NAME: &str = "oauth-resource-server";

pub async fn build(authority: &Authority, algorithm: Algorithm) -> Built {
    let config = OAuthConfig {
        enabled: true,
        issuer: authority.issuer().to_owned(),
        jwks_uri: Some(authority.jwks_url()),
        audience: AUDIENCE.to_owned(),
        resource: AUDIENCE.to_owned(),
        algorithms: vec![algorithm.as_str().to_owned()],
        require_at_jwt: true,
        // No contender is asked for a scope.
        allow_unscoped_tokens: true,
        ..OAuthConfig::default()
    };
    let config = config.resolve(KeyNaming::Dotted("oauth")).map_err(reason)?;
    let validator = OAuthValidator::new(&config.ok_or("not enabled")?).map_err(reason)?;
    let validator = Arc::new(validator);
    validator.refresh_now().await.map_err(reason)?;
    validator.spawn_background_refresh();
    let layer = AuthLayer::builder().oauth(validator).build().map_err(reason)?;
    Ok(Contender::router(NAME, plain().route_layer(layer)))
}
