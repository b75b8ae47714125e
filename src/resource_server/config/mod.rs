//! Builds a [`ResourceServer`] from a configuration file.
//!
//! ```
//! use tower_introspect::resource_server::Config;
//!
//! let config = Config::from_toml(
//!     r#"
//!     audience = "https://api.example.com"
//!     required_scopes = ["api"]
//!
//!     [[issuer]]
//!     issuer = "https://as.example.com"
//!     mode = "jwt"
//!
//!     [[issuer]]
//!     issuer = "https://opaque.example.com"
//!     mode = "introspect"
//!     client = { method = "basic", id = "api", secret_file = "/run/secrets/api" }
//!     "#,
//! )?;
//! // Only now is the file with the secret read.
//! assert_eq!(
//!     config.build().unwrap_err().problems().next().unwrap().0,
//!     "issuer https://opaque.example.com.client.secret",
//! );
//! # Ok::<(), tower_introspect::ConfigError>(())
//! ```
//!
//! # Settings
//!
//! | setting | meaning |
//! |---|---|
//! | `audience` | the identifier of this service, or several, of which the first is its own |
//! | `required_scopes` | the scopes that every token must have |
//! | `leeway_seconds` | how far the clocks of issuers may be off; 30 |
//! | `max_age_seconds` | how long an introspected token is cached; 30, 0 for not at all |
//! | `stale_if_error_seconds` | how much longer while the authorization server is unavailable; 0 |
//! | `advertised_scopes` | the scopes that challenges tell clients without a token to request |
//! | `[metadata]` | describes this service to clients (RFC 9728), see below |
//! | `resource_metadata` | the URL to name in challenges (RFC 9728 §5.1), if published elsewhere |
//! | `danger_allow_http_loopback` | accepts `http` URLs of this machine, for tests |
//! | `[[issuer]]` | the trusted issuers, at least one |
//! | `[forward]` | the request headers that verified claims are written into |
//! | `[dpop]` | accepts tokens that are bound to a key, with proofs; feature `dpop` |
//! | `[mtls]` | accepts tokens that are bound to a client certificate; feature `mtls` |
//! | `require_binding` | refuses tokens that are not bound to a key |
//! | `fapi2` | the same, and requires the algorithms of the FAPI 2.0 Security Profile |
//!
//! Settings of an issuer:
//!
//! | setting | modes | meaning |
//! |---|---|---|
//! | `issuer` | all | the issuer identifier |
//! | `mode` | | `jwt`, `introspect`, or `hybrid`: JWTs locally, other tokens by introspection |
//! | `jwks_uri` | `jwt`, `hybrid` | the URL of the keys, instead of discovery |
//! | `jwks_file` | `jwt`, `hybrid` | a file with the keys, instead of fetching them |
//! | `ca_file` | all | a PEM file with the trusted authorities, instead of those of the system |
//! | `algorithms` | `jwt`, `hybrid` | the signature algorithms to accept |
//! | `profile` | `jwt`, `hybrid` | `rfc9068`, or `generic` for issuers that don't follow it |
//! | `scope_claim` | `jwt`, `hybrid` | the claim that holds the scope, if not `scope` |
//! | `danger_audience_claim` | `jwt`, `hybrid` | the claim that replaces a missing `aud` |
//! | `introspection_endpoint` | `introspect`, `hybrid` | the endpoint, instead of discovery |
//! | `token_prefix` | `introspect`, `hybrid` | a prefix that only its opaque tokens have |
//! | `token_type_hint` | `introspect`, `hybrid` | the hint to send; none |
//! | `timeout_seconds` | `introspect`, `hybrid` | how long to wait for a response |
//! | `require_signed_response` | `introspect`, `hybrid` | takes only signed responses (RFC 9701) |
//! | `danger_default_audience` | `introspect`, `hybrid` | the audience of tokens without one |
//! | `client` | `introspect`, `hybrid` | how this service authenticates to the issuer |
//!
//! Settings of a client. The methods are `secret` (as the metadata of the issuer says), `basic`,
//! `basic_raw`, `post`, `bearer`, `private_key_jwt`, `client_secret_jwt` and `mtls`.
//!
//! | setting | methods | meaning |
//! |---|---|---|
//! | `method` | | the method, as above |
//! | `id` | all but `bearer` | the client identifier |
//! | `secret_file`, `secret_env` | those with a secret | where the secret is |
//! | `token_file`, `token_env` | `bearer` | where the token is |
//! | `key_file`, `key_env` | `private_key_jwt` | where the private key is, in PEM |
//! | `algorithm`, `kid` | `private_key_jwt` | the signature algorithm and the key identifier |
//! | `certificate_file` | `mtls` | a PEM file with the certificate and its chain |
//! | `key_file`, `key_env` | `mtls` | where its private key is, in PEM; may be the same file |
//! | `assertion_audience` | `secret`, JWT methods | the audience of assertions, if not the issuer |
//!
//! Settings of `[forward]`, which name headers (see [`ForwardHeaders`]):
//!
//! | setting | content of the header |
//! |---|---|
//! | `issuer`, `subject`, `client`, `scope` | that of the token |
//! | `claims` | a table: for each claim named, its text |
//! | `json` | a table: for each claim named, its JSON |
//!
//! Settings of `[metadata]`, named as in the document. The table may be empty.
//!
//! | setting | meaning |
//! |---|---|
//! | `scopes_supported` | the scopes that requests may need |
//! | `resource_name` | the name to show to users; also `"resource_name#de"`, in German |
//! | `resource_documentation` | the URL of a page for developers; also with a language |
//! | `resource_policy_uri` | the URL of a page about the use of the data; also with a language |
//! | `resource_tos_uri` | the URL of the terms of service; also with a language |
//! | `jwks_uri` | the URL of the keys that sign responses |
//! | `resource_signing_alg_values_supported` | the algorithms that sign responses |
//! | `authorization_details_types_supported` | the types of RFC 9396 |
//! | `max_age_seconds` | how long the document may be kept; 3600 |
//! | `without_cors` | prevents scripts of other origins from reading the document |
//! | `signed` | a table: `issuer`, `algorithm`, `kid`, `key_file` or `key_env`, to sign it with |
//!
//! Settings of `[dpop]` (see [`Dpop`](crate::proof::Dpop)):
//!
//! | setting | meaning |
//! |---|---|
//! | `url` | the URL under which clients reach this service, or several |
//! | `algorithms` | the algorithms of proofs |
//! | `window_seconds` | how far `iat` may be off; 30, at most 300 |
//! | `nonce` | `off`, `accept`, or `require`; off |
//! | `nonce_secret_file`, `nonce_secret_env` | where the shared secret is; random |
//! | `nonce_rotation_seconds` | how long a key for nonces is used; 60, at least 10, at most 3600 |
//!
//! Settings of `[mtls]` (see [`Mtls`](crate::proof::Mtls)). An empty table takes the certificate of
//! the TLS connection.
//!
//! | setting | meaning |
//! |---|---|
//! | `field` | the header with the certificate: `client_cert` (RFC 9440) or `xfcc` (Envoy) |
//! | `proxies` | the proxies trusted to set it: addresses or networks, such as `10.1.2.0/24` |
//! | `keep_field` | leaves the header on the request for the handler |
//!
//! A file can't say where requests come from, or where the certificate of a connection is found.
//! The program sets these with `Config::peer_address_fn` and `Config::configure_mtls`. It sets a
//! store of used proofs that instances share with `Config::configure_dpop`.
//!
//! Give exactly one source of each secret. `danger_secret`, `danger_token`, `danger_key` and
//! `danger_nonce_secret` hold it in the file itself.
//!
//! A larger example:
//!
//! ```
//! use std::net::SocketAddr;
//! use tower_introspect::resource_server::Config;
//!
//! # if cfg!(all(feature = "dpop", feature = "mtls")) {
//! let config = Config::from_toml(
//!     r#"
//!     audience = "https://api.example.com"
//!     fapi2 = true
//!
//!     [[issuer]]
//!     issuer = "https://as.example.com"
//!     mode = "hybrid"
//!     ca_file = "/etc/api/authorities.pem"
//!
//!     [issuer.client]
//!     method = "mtls"
//!     id = "api"
//!     certificate_file = "/run/secrets/api.pem"
//!     key_file = "/run/secrets/api.key"
//!
//!     [dpop]
//!     url = "https://api.example.com"
//!     algorithms = ["ES256", "EdDSA"]
//!     window_seconds = 10
//!     nonce = "require"
//!     nonce_secret_file = "/run/secrets/nonce"
//!
//!     [mtls]
//!     field = "client_cert"
//!     proxies = ["10.1.2.0/24"]
//!     "#,
//! )?;
//! # #[cfg(feature = "mtls")]
//! // With axum: `head.extension::<ConnectInfo<SocketAddr>>()`.
//! let config = config.peer_address_fn(|head| head.extension::<SocketAddr>().map(SocketAddr::ip));
//! // Only now are the files read.
//! let problems = config.build().unwrap_err();
//! let names: Vec<_> = problems.problems().map(|(name, _)| name).collect();
//! assert_eq!(
//!     names,
//!     [
//!         "dpop.nonce_secret",
//!         "issuer https://as.example.com.client.certificate_file",
//!         "issuer https://as.example.com.client.key",
//!         "issuer https://as.example.com.ca_file",
//!     ]
//! );
//! # }
//! # Ok::<(), tower_introspect::ConfigError>(())
//! ```

mod assemble;
#[cfg(feature = "dpop")]
mod dpop;
mod forward;
#[cfg(feature = "checks")]
pub(crate) mod inspect;
mod issuer;
mod metadata;
#[cfg(feature = "mtls")]
mod mtls;
#[cfg(any(feature = "dpop", feature = "mtls"))]
mod program;
mod read;
mod reader;
mod tls;

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Table;

#[cfg(any(feature = "dpop", feature = "mtls"))]
use self::program::Program;
use self::{issuer::IssuerConfig, metadata::MetadataConfig};
use super::{ResourceServer, builder::ResourceServerBuilder};
use crate::{error::config::ConfigError, layer::forward::ForwardHeaders};

/// The settings of a [`ResourceServer`], read from TOML or from a part of any document that serde
/// reads.
///
/// See the [module docs](self) for the settings. Unknown settings are errors. `Debug` shows no
/// secrets.
///
/// ```
/// use tower_introspect::resource_server::Config;
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
    audiences: Vec<String>,
    scopes: Vec<String>,
    advertised: Vec<String>,
    leeway: Option<Duration>,
    max_age: Option<Duration>,
    stale_if_error: Option<Duration>,
    metadata: Option<MetadataConfig>,
    resource_metadata: Option<String>,
    loopback_http: bool,
    issuers: Vec<IssuerConfig>,
    forward: Option<ForwardHeaders>,
    require_binding: bool,
    #[cfg(any(feature = "dpop", feature = "mtls"))]
    fapi2: bool,
    #[cfg(feature = "dpop")]
    dpop: Option<dpop::DpopConfig>,
    #[cfg(feature = "mtls")]
    mtls: Option<mtls::MtlsConfig>,
    #[cfg(any(feature = "dpop", feature = "mtls"))]
    program: Program,
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
            let mut problem = ConfigError::new();
            problem.push(format!("line {line}"), error.message());
            problem
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

    /// Builds the resource server after a change of its builder, such as a transport or a clock.
    ///
    /// A transport that is set here replaces those that are built from the certificates in the
    /// settings (`ca_file`, `certificate_file`).
    ///
    /// ```
    /// use tower_introspect::{clock::SystemClock, resource_server::Config};
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
    pub fn build_with(
        &self,
        change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder,
    ) -> Result<ResourceServer, ConfigError> {
        let (builder, mut problems, issuers) = self.assemble();
        // The builder would report that there is no issuer, although there are some with problems.
        if issuers == 0 && !self.issuers.is_empty() {
            return Err(problems);
        }
        match change(builder).build() {
            Ok(resource_server) => {
                let impossible = resource_server.policy().proofs().ask_the_impossible();
                if impossible && problems.problems().next().is_none() {
                    let problem = "no token could be proven: give `[dpop]` or `[mtls]` as well";
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
        let (builder, problems, _) = self.assemble();
        problems.or_ok(builder)
    }
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
mod tests;
