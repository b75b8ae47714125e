//! The settings of one issuer, for the program `introspect`.

use super::{IssuerConfig, MODES};
use crate::{
    config::{
        client::{Client, METHODS},
        inspect::{ClientSettings, IssuerSettings},
        reader::Secret,
    },
    error::config::ConfigError,
    introspection::{builder::IntrospectionVerifierBuilder, verifier::IntrospectionVerifier},
};

impl IssuerConfig {
    pub(in crate::config) fn inspect(&self) -> IssuerSettings {
        let (jwt, remote) = (self.jwt.as_ref(), self.introspection.as_ref());
        IssuerSettings {
            issuer: self.name.clone(),
            mode: name_of(&self.mode, &MODES),
            ca_file: self.ca_file.clone(),
            jwks_uri: jwt.and_then(|jwt| jwt.jwks_uri.clone()),
            jwks_file: jwt.and_then(|jwt| jwt.jwks_file.clone()),
            max_keys: jwt.and_then(|jwt| jwt.max_keys),
            max_keys_tried: jwt.and_then(|jwt| jwt.max_keys_tried),
            algorithms: jwt.and_then(|jwt| jwt.algorithms.clone()),
            profile: jwt.map(|jwt| jwt.profile.unwrap_or_default()),
            accepts_unmarked: self.accept_unmarked,
            has_audience_claim: jwt.is_some_and(|jwt| jwt.danger_audience_claim.is_some()),
            endpoint: remote.and_then(|remote| remote.endpoint.clone()),
            hint: remote.and_then(|remote| remote.hint.clone()),
            timeout: remote.and_then(|remote| remote.timeout),
            requires_signed_response: remote.is_some_and(|remote| remote.signed),
            has_default_audience: remote
                .is_some_and(|remote| remote.danger_default_audience.is_some()),
            confirmation_max_age: self.confirmation_max_age,
            client: self.client.as_ref().map(Client::inspect),
        }
    }

    pub(in crate::config) fn has_own_connections(&self) -> bool {
        self.ca_file.is_some()
            || self.client.as_ref().is_some_and(|one| one.certificate().is_some())
    }

    /// Returns a builder for introspection alone, without a cache, if tokens are introspected.
    pub(in crate::config) fn introspection(
        &self,
    ) -> Result<Option<IntrospectionVerifierBuilder>, ConfigError> {
        let (Some(_), Some(client)) = (&self.introspection, &self.client) else {
            return Ok(None);
        };
        let builder = IntrospectionVerifier::builder(&*self.name, client.load()?);
        Ok(Some(self.introspection_settings()(builder)))
    }
}

impl Client {
    pub(in crate::config) fn inspect(&self) -> ClientSettings {
        ClientSettings {
            method: name_of(&self.method, &METHODS),
            id: self.id.clone(),
            secret_location: match &self.secret {
                Some(secret) => secret.location(),
                None => "nowhere".to_owned(),
            },
        }
    }
}

impl Secret {
    /// Describes where the secret is.
    pub(in crate::config) fn location(&self) -> String {
        match self {
            Self::Env(name) => format!("the variable {name}"),
            Self::File(path) => format!("the file {}", path.display()),
            Self::Inline(_) => "the configuration itself".to_owned(),
        }
    }
}

/// Returns the name of a keyword.
fn name_of<T: PartialEq>(value: &T, names: &[(&'static str, T)]) -> &'static str {
    names.iter().find(|(_, named)| named == value).map_or("", |(name, _)| name)
}
