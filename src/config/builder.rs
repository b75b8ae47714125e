//! Turns settings into a builder.

#[cfg(feature = "dpop")]
use super::dpop::DpopConfig;
use super::{file::Config, tls::TransportConfig};
#[cfg(any(feature = "dpop", feature = "mtls"))]
use crate::policy::settings::Policy;
use crate::{
    cache::layer,
    credentials::extract::Extractor,
    error::config::ConfigError,
    policy::verified_token::Requirement,
    resource_server::{builder::server_builder::ResourceServerBuilder, server::ResourceServer},
};

impl Config {
    /// Returns the builder with everything that could be read, the problems of the rest, and the
    /// number of issuers that could be read.
    pub(super) fn to_builder(&self) -> (ResourceServerBuilder, ConfigError, usize) {
        let mut problems = ConfigError::new();
        let audience = self.audiences.first().map(String::as_str).unwrap_or_default();
        let mut builder = ResourceServer::builder(audience).policy(|mut policy| {
            for other in self.audiences.iter().skip(1) {
                policy = policy.or_audience(other);
            }
            if !self.scopes.is_empty() {
                policy =
                    policy.require(Requirement::all_scopes(self.scopes.iter().map(String::as_str)));
            }
            if !self.advertised.is_empty() {
                policy = policy.advertise_scope(&self.advertised.join(" "));
            }
            if let Some(realm) = &self.realm {
                policy = policy.realm(realm);
            }
            match &self.resource_metadata {
                Some(url) => policy.resource_metadata(url),
                None => policy,
            }
        });
        if let Some(leeway) = self.leeway {
            builder = builder.leeway(leeway);
        }
        if let Some(longest) = self.max_token_lifetime {
            builder = builder.max_token_lifetime(longest);
        }
        if let Some(age) = self.max_age {
            builder = builder.max_age(age);
        }
        if let Some(more) = self.stale_if_error {
            builder = builder.stale_if_error(more);
        }
        if let Some(headers) = &self.forward {
            builder = builder.forward(headers.clone());
        }
        if let Some(extractor) = self.extractor() {
            builder = builder.extractor(extractor);
        }
        if self.require_binding {
            builder = builder.require_binding();
        }
        #[cfg(any(feature = "dpop", feature = "mtls"))]
        if self.fapi2 {
            builder = builder.policy(Policy::fapi2);
        }
        #[cfg(feature = "dpop")]
        match self.dpop.as_ref().map(DpopConfig::load) {
            Some(Ok(dpop)) => builder = builder.dpop(self.program.dpop(dpop)),
            Some(Err(problem)) => problems.merge("dpop", problem),
            None => {}
        }
        #[cfg(feature = "mtls")]
        match self.mtls.as_ref().map(|mtls| mtls.load(self.program.peer_address())) {
            Some(Ok(mtls)) => builder = builder.mtls(self.program.mtls(mtls)),
            Some(Err(problem)) => problems.merge("mtls", problem),
            None => {}
        }
        if self.loopback_http {
            builder = builder.danger_allow_http_loopback();
        }
        if let Some(metadata) = &self.metadata {
            match metadata.load() {
                Ok(describe) => builder = builder.metadata(describe),
                Err(problem) => problems.merge("metadata", problem),
            }
        }
        let common = self.transport.clone().unwrap_or_default();
        let shared = self.transport.as_ref().map(TransportConfig::transport).transpose();
        let shared = shared.map_err(|problem| problems.merge("transport", problem)).ok().flatten();
        let mut issuers = 0;
        let max_age = self.max_age.unwrap_or(layer::DEFAULT_MAX_AGE);
        for issuer in &self.issuers {
            match issuer.load(max_age, &common, shared.as_ref()) {
                Ok(issuer) => {
                    builder = builder.issuer(issuer);
                    issuers += 1;
                }
                Err(problem) => problems.merge(&format!("issuer `{}`", issuer.name()), problem),
            }
        }
        (builder, problems, issuers)
    }

    /// Returns the extractor of tokens, unless it is the default one.
    fn extractor(&self) -> Option<Extractor> {
        if self.token_headers.is_empty() && self.max_token_bytes.is_none() {
            return None;
        }
        let headers = self.token_headers.iter().cloned();
        let mut extractor = headers.fold(Extractor::new(), Extractor::header);
        if let Some(limit) = self.max_token_bytes {
            extractor = extractor.max_token_bytes(limit);
        }
        Some(if self.without_authorization { extractor.without_authorization() } else { extractor })
    }

    /// Returns the name of the setting that requires bound tokens.
    pub(super) fn binding_setting(&self) -> &'static str {
        if self.require_binding { "require_binding" } else { "fapi2" }
    }
}
