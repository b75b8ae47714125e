//! Reads the table `[signals]`.

mod access;
pub(crate) mod configured;
#[cfg(feature = "checks")]
mod inspect;
mod transmitter;

use std::time::Duration;

use bytes::Bytes;

use self::{configured::ConfiguredSignals, transmitter::TransmitterConfig};
use super::{reader::Section, tls::TransportConfig};
use crate::{
    error::config::ConfigError, resource_server::server::ResourceServer,
    signals::logout::service::LogoutService, transport::http_transport::HttpTransport,
};

/// The configured receivers of logouts and security events.
pub(super) struct SignalsConfig {
    logout: Option<LogoutConfig>,
    transmitters: Vec<TransmitterConfig>,
}

struct LogoutConfig {
    client_id: String,
    cut_by_subject: bool,
    strict_typ: bool,
    max_age: Option<Duration>,
}

impl SignalsConfig {
    pub(super) fn read(section: &mut Section) -> Self {
        if !section.has("logout_client_id") {
            if !section.has("transmitter") {
                section.problem("logout_client_id", "missing, as there is no `transmitter` either");
            }
            for name in ["logout_cut_by_subject", "logout_strict_typ", "logout_max_age_seconds"] {
                if section.has(name) {
                    section.problem(name, "has no effect without `logout_client_id`");
                }
            }
        }
        let client_id = section.text("logout_client_id");
        let cut_by_subject = section.flag("logout_cut_by_subject");
        let strict_typ = section.flag("logout_strict_typ");
        let max_age = section.seconds("logout_max_age_seconds");
        let logout = |client_id| LogoutConfig { client_id, cut_by_subject, strict_typ, max_age };
        let transmitters = section.valid_sections("transmitter", TransmitterConfig::read);
        let names: Vec<_> = transmitters.iter().map(TransmitterConfig::issuer).collect();
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                section.problem("transmitter", format!("`{name}` is configured twice"));
            }
        }
        Self { logout: client_id.map(logout), transmitters }
    }

    /// Returns the receivers, which share the state of `api`. Reads the files with secrets and keys.
    ///
    /// `shared` is the transport of transmitters without settings of their own.
    pub(super) fn build<R>(
        &self,
        api: &ResourceServer<R>,
        common: &TransportConfig,
        shared: Option<&HttpTransport>,
    ) -> Result<ConfiguredSignals, ConfigError> {
        let mut problems = ConfigError::new();
        let mut configured = ConfiguredSignals::new(self.logout.as_ref().map(|it| it.build(api)));
        for transmitter in &self.transmitters {
            let built = transmitter.load(common).and_then(|it| it.build(api, shared));
            match built {
                Ok((receiver, task)) => {
                    configured.add(transmitter.issuer(), receiver, transmitter.is_pushed(), task);
                }
                Err(problem) => problems.merge(&transmitter.title(), problem),
            }
        }
        problems.or_ok(configured)
    }

    /// Returns the problems with files and variables.
    pub(super) fn load_problems(&self, common: &TransportConfig) -> ConfigError {
        let mut problems = ConfigError::new();
        for transmitter in &self.transmitters {
            if let Err(problem) = transmitter.load(common) {
                problems.merge(&transmitter.title(), problem);
            }
        }
        problems
    }
}

impl LogoutConfig {
    fn build<R>(&self, api: &ResourceServer<R>) -> LogoutService<Bytes> {
        let mut service = api.logout_service::<Bytes>(&*self.client_id);
        if self.cut_by_subject {
            service = service.cut_by_subject();
        }
        if self.strict_typ {
            service = service.strict_typ();
        }
        match self.max_age {
            Some(age) => service.max_age(age),
            None => service,
        }
    }
}
