//! A configuration that was read from TOML.

use std::{fmt, time::Duration};

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Table;

#[cfg(feature = "dpop")]
use super::dpop;
#[cfg(feature = "mtls")]
use super::mtls;
#[cfg(any(feature = "dpop", feature = "mtls"))]
use super::program::ProgramHooks;
#[cfg(feature = "signals")]
use super::signals::{SignalsConfig, configured::ConfiguredSignals};
use super::{issuer::IssuerConfig, metadata::MetadataConfig, tls::TransportConfig};
use crate::{
    error::config::ConfigError,
    layer::forward::headers::ForwardHeaders,
    resource_server::{builder::server_builder::ResourceServerBuilder, server::ResourceServer},
};

/// The settings of a [`ResourceServer`], read from TOML or from a part of any document that serde
/// reads.
///
/// See the [module docs](super) for the settings. Unknown settings are errors. `Debug` shows no
/// secrets.
///
/// ```
/// use tower_introspect::config::Config;
///
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     port: u16,
///     auth: Config,
/// }
///
/// let settings: Settings = serde_json::from_str(
///     r#"{
///         "port": 8080,
///         "auth": {
///             "audience": "https://api.example.com",
///             "issuer": [{"issuer": "https://as.example.com", "mode": "jwt"}]
///         }
///     }"#,
/// )?;
/// let resource_server = settings.auth.build()?;
/// # assert_eq!(settings.port, 8080);
/// # let _ = resource_server;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Config {
    pub(super) audiences: Vec<String>,
    pub(super) scopes: Vec<String>,
    pub(super) advertised: Vec<String>,
    pub(super) leeway: Option<Duration>,
    pub(super) max_token_lifetime: Option<Duration>,
    pub(super) max_token_bytes: Option<usize>,
    pub(super) max_age: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
    pub(super) metadata: Option<MetadataConfig>,
    pub(super) resource_metadata: Option<String>,
    pub(super) realm: Option<String>,
    pub(super) loopback_http: bool,
    pub(super) transport: Option<TransportConfig>,
    pub(super) issuers: Vec<IssuerConfig>,
    pub(super) forward: Option<ForwardHeaders>,
    pub(super) token_headers: Vec<HeaderName>,
    pub(super) without_authorization: bool,
    pub(super) require_binding: bool,
    #[cfg(any(feature = "dpop", feature = "mtls"))]
    pub(super) fapi2: bool,
    #[cfg(feature = "dpop")]
    pub(super) dpop: Option<dpop::DpopConfig>,
    #[cfg(feature = "mtls")]
    pub(super) mtls: Option<mtls::MtlsConfig>,
    #[cfg(feature = "signals")]
    pub(super) signals: Option<SignalsConfig>,
    #[cfg(any(feature = "dpop", feature = "mtls"))]
    pub(super) program: ProgramHooks,
}

impl Config {
    /// Reads settings from TOML. Sends no request, and reads no other file unless there is a
    /// problem.
    ///
    /// # Errors
    ///
    /// Returns every problem of the settings, each with the name of its setting. No problem shows
    /// the value of a secret.
    ///
    /// The problems that [`build`](Self::build) would report for the other settings are included.
    /// For these, the files and variables with secrets and keys are read.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let table = text.parse::<Table>().map_err(|error| {
            // `Display` would quote the line, which may hold a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ConfigError::of(format!("line {line}"), error.message())
        })?;
        Self::read(table)
    }

    /// Builds the resource server. Reads the files and variables with secrets and keys. Sends no
    /// request.
    ///
    /// # Errors
    ///
    /// Returns every problem.
    pub fn build(&self) -> Result<ResourceServer, ConfigError> {
        self.build_with(|builder| builder)
    }

    /// Builds the resource server after a change of its builder, such as a transport, a clock or a
    /// responder.
    ///
    /// A transport that is set here replaces those that are built from the settings (`[transport]`,
    /// `ca_file`, `certificate_file`). Issuers that are added here use none of these.
    ///
    /// ```
    /// use tower_introspect::{clock::SystemClock, config::Config};
    ///
    /// let config = Config::from_toml(
    ///     r#"
    ///     audience = "https://api.example.com"
    ///     issuer = [{ issuer = "https://as.example.com", mode = "jwt" }]
    ///     "#,
    /// )?;
    /// let resource_server = config.build_with(|builder| builder.clock(SystemClock))?;
    /// # let _ = resource_server;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns every problem.
    pub fn build_with<R>(
        &self,
        change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder<R>,
    ) -> Result<ResourceServer<R>, ConfigError> {
        let (builder, mut problems, issuers) = self.to_builder();
        // The builder would report that there is no issuer, although there are some with problems.
        if issuers == 0 && !self.issuers.is_empty() {
            #[cfg(feature = "signals")]
            problems.append(self.signal_problems::<R>(None));
            return Err(problems);
        }
        let built = change(builder).build();
        #[cfg(feature = "signals")]
        {
            let api = built.as_ref().ok().filter(|_| issuers == self.issuers.len());
            problems.append(self.signal_problems(api));
        }
        match built {
            Ok(resource_server) => {
                let impossible =
                    resource_server.policy().proofs().requires_binding_without_proofs();
                if impossible && problems.problems().next().is_none() {
                    let problem = "no token can be proven: add `[dpop]` or `[mtls]`";
                    problems.push(self.binding_setting(), problem);
                }
                problems.or_ok(resource_server)
            }
            Err(more) => {
                problems.append(more);
                Err(problems)
            }
        }
    }

    /// Returns the builder that [`build`](Self::build) uses, for changes such as a transport or a
    /// clock.
    ///
    /// # Errors
    ///
    /// Returns an error if a file or a variable can't be read. Also returns one if proxies are
    /// trusted, but the program has not set `Config::peer_address_fn`.
    pub fn builder(&self) -> Result<ResourceServerBuilder, ConfigError> {
        let (builder, problems, _) = self.to_builder();
        problems.or_ok(builder)
    }
}

/// The receivers of signals.
#[cfg(feature = "signals")]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
impl Config {
    /// Returns the receivers of logouts and security events that the table `[signals]` sets up, or
    /// `None` without that table.
    ///
    /// `api` is the resource server that this configuration has built. Call this once for each: every
    /// call returns other receivers, and readiness shows those that are in use. It reads the files and
    /// variables with secrets and keys, and sends no request.
    ///
    /// ```
    /// use axum::{Router, body::Body};
    /// use tower_introspect::config::Config;
    ///
    /// let config = Config::from_toml(
    ///     r#"
    ///     audience = "https://api.example.com"
    ///     issuer = [{ issuer = "https://as.example.com", mode = "jwt" }]
    ///
    ///     [signals]
    ///     logout_client_id = "web"
    ///
    ///     [[signals.transmitter]]
    ///     issuer = "https://as.example.com"
    ///     audience = "https://api.example.com/events"
    ///     danger_authorization = "Bearer 4tVZ.."
    ///
    ///     [[signals.transmitter]]
    ///     issuer = "https://events.example.com"
    ///     audience = "orders"
    ///     speaks_for = "https://as.example.com"
    ///     delivery = "poll"
    ///     stream_id = "f67e39a0"
    ///     danger_access_token = "23410913-abewfq.123483"
    ///     verify_every_seconds = 300
    ///     verified_within_seconds = 900
    ///     "#,
    /// )?;
    /// let api = config.build()?;
    /// let mut app = Router::<()>::new().layer(api.layer());
    /// if let Some(signals) = config.signals(&api)? {
    ///     // Added after the layer: the senders have no access token.
    ///     if let Some(logout) = signals.logout_service::<Body>() {
    ///         app = app.route_service("/backchannel-logout", logout);
    ///     }
    ///     for (_issuer, events) in signals.receivers() {
    ///         app = app.route_service("/events", events.push_service::<Body>());
    ///     }
    ///     let task = signals.run(std::future::pending());
    ///     // tokio::spawn(task);
    /// #   drop(task);
    /// }
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns every problem. If `api` was built from this configuration, only a file that has changed
    /// since can be one.
    pub fn signals<R>(
        &self,
        api: &ResourceServer<R>,
    ) -> Result<Option<ConfiguredSignals>, ConfigError> {
        let Some(signals) = &self.signals else { return Ok(None) };
        let shared = self.transport.as_ref().map(TransportConfig::transport).transpose();
        let shared = shared.map_err(|problem| inside("transport", problem))?;
        let built = signals.build(api, &self.common_transport(), shared.as_ref());
        built.map(Some).map_err(|problem| inside("signals", problem))
    }

    /// Returns the problems that [`signals`](Self::signals) would report, without `api` only those with
    /// files and variables.
    pub(super) fn signal_problems<R>(&self, api: Option<&ResourceServer<R>>) -> ConfigError {
        let Some(signals) = &self.signals else { return ConfigError::new() };
        let common = self.common_transport();
        let problems = match api {
            // The transport of all issuers is checked with these.
            Some(api) => signals.build(api, &common, None).err().unwrap_or_default(),
            None => signals.load_problems(&common),
        };
        inside("signals", problems)
    }

    pub(super) fn common_transport(&self) -> TransportConfig {
        self.transport.clone().unwrap_or_default()
    }
}

/// Returns problems with the name of their table.
#[cfg(feature = "signals")]
pub(super) fn inside(table: &str, problems: ConfigError) -> ConfigError {
    let mut all = ConfigError::new();
    all.merge(table, problems);
    all
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(Table::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: Vec<_> = self.issuers.iter().map(IssuerConfig::name).collect();
        f.debug_struct("Config")
            .field("audiences", &self.audiences)
            .field("scopes", &self.scopes)
            .field("issuers", &issuers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
