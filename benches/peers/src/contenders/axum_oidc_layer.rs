//! `axum-oidc-layer`: a layer, keys loaded with the first token. It remembers the claims of tokens,
//! as JSON, in the same table as keys and configuration.

use std::{sync::Arc, time::Duration};

use axum_oidc_layer::{
    AuthenticationConfigProvider, Claims, InMemoryCache, JwksCache, OidcAuthenticationLayer,
};

use super::{Built, Contender, plain};
use crate::authority::{AUDIENCE, Authority};

pub const NAME: &str = "axum-oidc-layer";

#[derive(Clone)]
struct Config {
    issuer: Arc<str>,
}

impl AuthenticationConfigProvider for Config {
    fn get_provider_url(&self) -> String {
        self.issuer.to_string()
    }

    fn get_openid_configuration_url(&self) -> Option<String> {
        None
    }

    fn get_expected_audience(&self) -> Option<Vec<String>> {
        Some(vec![AUDIENCE.to_owned()])
    }
}

/// All of its default memory but the tokens: there is no setting for that.
struct Forgetful(InMemoryCache);

impl JwksCache for Forgetful {
    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key)
    }

    fn set(&self, key: &str, value: String, ttl: Duration) {
        if !key.starts_with("token:") {
            self.0.set(key, value, ttl);
        }
    }
}

pub fn build(authority: &Authority, memory: bool) -> Built {
    type Layer = OidcAuthenticationLayer<Config, Claims>;
    let config = Config { issuer: authority.issuer().into() };
    if memory {
        return Ok(Contender::router(NAME, plain().layer(Layer::new(config))).remembering());
    }
    let cache = Arc::new(Forgetful(InMemoryCache::new()));
    Ok(Contender::router(NAME, plain().layer(Layer::with_cache(config, cache))))
}
