//! The settings of receivers of signals, for the program `introspect`.

use super::{
    SignalsConfig,
    access::Access,
    transmitter::{Delivery, TransmitterConfig},
};
use crate::{
    config::{
        file::{Config, inside},
        inspect::{ClientSettings, SignalSettings, TransmitterSettings},
    },
    error::config::ConfigError,
    resource_server::server::ResourceServer,
    signals::transmitter::streams::EventStreams,
};

impl Config {
    /// Returns the streams at the transmitter with index `at`, if this service is authorized there.
    /// Reads the files with its secrets.
    ///
    /// # Errors
    ///
    /// Returns an error if the files can't be read.
    #[doc(hidden)]
    pub fn event_streams<R>(
        &self,
        at: usize,
        api: &ResourceServer<R>,
    ) -> Result<Option<EventStreams>, ConfigError> {
        let signals = self.signals.as_ref();
        let Some(transmitter) = signals.and_then(|it| it.transmitters.get(at)) else {
            return Ok(None);
        };
        let shared = self.transport.as_ref().map(|it| it.transport()).transpose();
        let shared = shared.map_err(|problem| inside("transport", problem))?;
        let loaded = transmitter.load(&self.common_transport());
        let streams = loaded.and_then(|loaded| loaded.streams(api, shared.as_ref()));
        let named = format!("signals.{}", transmitter.title());
        streams.map_err(|problem| inside(&named, problem))
    }
}

impl SignalsConfig {
    pub(in crate::config) fn inspect(&self) -> SignalSettings {
        let logout = self.logout.as_ref();
        SignalSettings {
            logout_client_id: logout.map(|logout| logout.client_id.clone()),
            logout_cut_by_subject: logout.is_some_and(|logout| logout.cut_by_subject),
            transmitters: self.transmitters.iter().map(TransmitterConfig::inspect).collect(),
        }
    }
}

impl TransmitterConfig {
    fn inspect(&self) -> TransmitterSettings {
        TransmitterSettings {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            speaks_for: self.speaks_for.clone(),
            jwks_uri: self.jwks_uri.clone(),
            jwks_file: self.jwks_file.clone(),
            has_authorization: self.authorization.is_some(),
            critical_members: self.critical_members.clone(),
            cut_by_subject: self.cut_by_subject,
            verified_within: self.verified_within,
            is_polled: self.delivery == Delivery::Poll,
            stream_id: self.stream_id.clone(),
            poll_url: self.poll_url.clone(),
            verify_every: self.verify_every,
            ca_file: self.ca_file.clone(),
            access: self.access.as_ref().map(|access| match access {
                Access::Token(secret) => {
                    let (method, secret_location) = ("access_token", secret.location());
                    ClientSettings { method, id: None, secret_location }
                }
                Access::Client { client, .. } => client.inspect(),
            }),
        }
    }
}
