//! Builds an [`IntrospectionVerifier`] from its settings.

use std::sync::Arc;

#[cfg(feature = "jwt")]
use super::signed::{SignedResponse, SignedResponseVerifier};
use super::{
    builder::IntrospectionVerifierBuilder,
    exchange::{Exchange, ResponseFormat},
    verifier::IntrospectionVerifier,
};
use crate::{
    error::config::ConfigError,
    telemetry::endpoint_kind::EndpointKind,
    transport::{common::Location, discovery::discover::Discovery, http_transport::HttpTransport},
};

/// Parameters that have a setting of their own, or that `ClientAuth` sets.
const RESERVED: [&str; 6] = [
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "token",
    "token_type_hint",
];

impl IntrospectionVerifierBuilder {
    /// Builds the verifier, without sending anything.
    ///
    /// # Errors
    ///
    /// Returns all problems with the settings.
    pub fn build(self) -> Result<IntrospectionVerifier, ConfigError> {
        let mut problems = ConfigError::new();
        self.check(&mut problems);
        let transport = HttpTransport::or_default(self.common.transport.as_ref(), &mut problems);
        let discovery = transport.as_ref().and_then(|via| self.discovery(via, &mut problems));
        let location = self.location(discovery.clone(), &mut problems);
        let format = transport.as_ref().and_then(|via| self.format(via, discovery));
        let (Some(transport), Some(location), Some(format)) = (transport, location, format) else {
            return Err(problems);
        };
        let calls = self.common.calls(EndpointKind::Introspection);
        let hint = self.hint.map(|hint| ("token_type_hint".to_owned(), hint));
        let exchange = Exchange {
            issuer: self.common.issuer.into(),
            calls,
            auth: self.auth,
            location,
            format,
            transport,
            parameters: hint.into_iter().chain(self.parameters).collect(),
            timeout: self.timeout,
            connection_per_request: self.connection_per_request,
            claim_settings: self.claim_settings,
            #[cfg(feature = "cache")]
            confirms_jwts: self.confirms_jwts,
            #[cfg(feature = "_crypto")]
            canary_token: self.canary_token,
            clock: self.common.clock,
        };
        problems.or_ok(IntrospectionVerifier { exchange: Arc::new(exchange) })
    }

    /// Returns the metadata of the issuer, if anything has to be discovered. Otherwise the issuer is
    /// only a name, which need not be a URL.
    fn discovery(
        &self,
        transport: &HttpTransport,
        problems: &mut ConfigError,
    ) -> Option<Discovery> {
        #[cfg(feature = "jwt")]
        let for_keys = self.signed.as_ref().is_some_and(SignedResponse::discovers_keys);
        #[cfg(not(feature = "jwt"))]
        let for_keys = false;
        if self.endpoint.is_some() && !for_keys {
            return None;
        }
        let discovery = self.common.discovery(transport).map_err(|problem| {
            // An empty issuer is reported in any case.
            if !self.common.issuer.is_empty() {
                problems.push("issuer", problem);
            }
        });
        discovery.ok()
    }

    #[cfg_attr(
        not(feature = "jwt"),
        expect(
            clippy::unused_self,
            clippy::needless_pass_by_value,
            unused_variables,
            reason = "only signed responses need these"
        )
    )]
    fn format(
        &self,
        transport: &HttpTransport,
        discovery: Option<Discovery>,
    ) -> Option<ResponseFormat> {
        #[cfg(feature = "jwt")]
        if let Some(settings) = &self.signed {
            let transport = transport.clone();
            let (settings, client_id) = (settings.clone(), self.auth.method.client_id());
            return SignedResponseVerifier::new(
                settings,
                client_id,
                &self.common,
                transport,
                discovery,
            )
            .map(ResponseFormat::Signed);
        }
        Some(ResponseFormat::Json)
    }

    fn location(
        &self,
        discovery: Option<Discovery>,
        problems: &mut ConfigError,
    ) -> Option<Location> {
        match &self.endpoint {
            Some(url) => self.common.fixed_location(url, "endpoint", problems),
            None => discovery.map(Location::Discovered),
        }
    }

    fn check(&self, problems: &mut ConfigError) {
        if self.common.issuer.is_empty() {
            problems.push("issuer", "empty");
        }
        self.auth.method.check(problems);
        #[cfg(feature = "jwt")]
        if let Some(settings) = &self.signed {
            settings.check(self.auth.method.client_id(), &self.common, problems);
        }
        if self.claim_settings.scope_claim.as_deref() == Some("") {
            problems.push("scope_claim", "empty");
        }
        if self.timeout.is_zero() {
            problems.push("timeout", "must be greater than zero");
        }
        for (at, (name, _)) in self.parameters.iter().enumerate() {
            if RESERVED.contains(&name.as_str()) {
                problems.push("parameter", format!("`{name}` has a setting of its own"));
            } else if self.parameters.iter().take(at).any(|(earlier, _)| earlier == name) {
                problems.push("parameter", format!("`{name}` is given twice"));
            }
        }
    }
}
