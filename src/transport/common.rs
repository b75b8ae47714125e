//! The settings of requests to one issuer.

use std::sync::Arc;

use super::{
    calls::CallRecorder,
    discovery::discover::Discovery,
    endpoint::{Endpoint, EndpointError},
    http_transport::HttpTransport,
};
use crate::{
    clock::{Clock, SystemClock},
    error::config::ConfigError,
    refresh::turns_by_origin::TurnsByOrigin,
    telemetry::{endpoint_kind::EndpointKind, report::issuer_label},
};

/// The location of an endpoint of an issuer.
pub(crate) enum Location {
    /// The URL that the issuer's metadata names.
    Discovered(Discovery),
    /// A configured URL.
    Fixed(Endpoint),
}

impl Location {
    /// Returns the metadata that names the URL, unless that is configured.
    pub(crate) const fn discovery(&self) -> Option<&Discovery> {
        match self {
            Self::Discovered(discovery) => Some(discovery),
            Self::Fixed(_) => None,
        }
    }
}

/// The settings that all verifiers of an issuer's tokens share.
#[derive(Clone, Debug)]
pub(crate) struct CommonSettings {
    pub(crate) issuer: String,
    pub(crate) transport: Option<HttpTransport>,
    pub(crate) loopback_http: bool,
    /// True if the issuer is one of an unbounded number, which share one label in metrics.
    pub(crate) is_resolved: bool,
    pub(crate) clock: Arc<dyn Clock>,
    /// Shared by all issuers whose keys are fetched from one server.
    pub(crate) turns: TurnsByOrigin,
}

impl CommonSettings {
    pub(crate) fn new(issuer: String) -> Self {
        Self {
            issuer,
            transport: None,
            loopback_http: false,
            is_resolved: false,
            clock: Arc::new(SystemClock),
            turns: TurnsByOrigin::default(),
        }
    }

    /// Returns a new record of the calls of one endpoint.
    pub(crate) fn calls(&self, endpoint: EndpointKind) -> CallRecorder {
        let name = issuer_label(&self.issuer, self.is_resolved);
        CallRecorder::new(name, endpoint, Arc::clone(&self.clock))
    }

    /// Returns the metadata of the issuer, to be fetched by `transport`.
    pub(crate) fn discovery(&self, transport: &HttpTransport) -> Result<Discovery, EndpointError> {
        let calls = self.calls(EndpointKind::Metadata);
        Discovery::new(&self.issuer, transport.clone(), self.loopback_http, calls)
    }

    /// Returns the metadata of the issuer as a transmitter of security events.
    #[cfg(feature = "signals")]
    pub(crate) fn transmitter_discovery(
        &self,
        transport: &HttpTransport,
    ) -> Result<Discovery, EndpointError> {
        let calls = self.calls(EndpointKind::Metadata);
        Discovery::of_transmitter(&self.issuer, transport.clone(), self.loopback_http, calls)
    }

    /// Returns the configured location `url`. Adds to `problems` if `setting` is no such URL.
    pub(crate) fn fixed_location(
        &self,
        url: &str,
        setting: &str,
        problems: &mut ConfigError,
    ) -> Option<Location> {
        let endpoint = Endpoint::parse(url, self.loopback_http);
        endpoint.map(Location::Fixed).map_err(|problem| problems.push(setting, problem)).ok()
    }
}
