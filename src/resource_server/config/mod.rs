//! A [`ResourceServer`] from a file.
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
//! // The file with the secret is read now.
//! assert_eq!(
//!     config.build().unwrap_err().problems().next().unwrap().0,
//!     "issuer https://opaque.example.com.client.secret",
//! );
//! # Ok::<(), tower_introspect::ConfigError>(())
//! ```
//!
//! # Settings
//!
//! | setting | what it is |
//! |---|---|
//! | `audience` | who this service is: an identifier, or several, of which the first is its own |
//! | `required_scopes` | the scopes that every token must have |
//! | `leeway_seconds` | how far the clocks of issuers may be off; 30 |
//! | `max_age_seconds` | how long an introspected token is remembered; 30, 0 for not at all |
//! | `stale_if_error_seconds` | how much longer while its server is not available; 0 |
//! | `advertised_scopes` | what clients without a token are told to ask for |
//! | `[metadata]` | describes this service to clients (RFC 9728), see below |
//! | `resource_metadata` | the URL to name in challenges (RFC 9728 §5.1), if another describes it |
//! | `danger_allow_http_loopback` | takes `http` URLs of this machine, for tests |
//! | `[[issuer]]` | the trusted issuers, at least one |
//! | `[forward]` | the headers that tell a service behind who makes a request |
//! | `[dpop]` | takes tokens that are bound to a key, with proofs; feature `dpop` |
//! | `[mtls]` | takes tokens that are bound to a client certificate, with that; feature `mtls` |
//! | `require_binding` | refuses tokens that are bound to no key |
//! | `fapi2` | the same, and asks for the algorithms of the FAPI 2.0 Security Profile |
//!
//! Of an issuer:
//!
//! | setting | modes | what it is |
//! |---|---|---|
//! | `issuer` | all | its identifier |
//! | `mode` | | `jwt`, `introspect`, or `hybrid`: JWTs locally, asking about the rest |
//! | `jwks_uri` | `jwt`, `hybrid` | where its keys are, instead of discovering it |
//! | `jwks_file` | `jwt`, `hybrid` | a file with its keys, instead of fetching them |
//! | `ca_file` | all | a file with the authorities, in PEM, that vouch for its servers, instead of those of the system |
//! | `algorithms` | `jwt`, `hybrid` | the signature algorithms to accept |
//! | `profile` | `jwt`, `hybrid` | `rfc9068`, or `generic` for issuers that don't follow it |
//! | `scope_claim` | `jwt`, `hybrid` | the claim that holds the scope, if not `scope` |
//! | `danger_audience_claim` | `jwt`, `hybrid` | the claim that stands in for an absent `aud` |
//! | `introspection_endpoint` | `introspect`, `hybrid` | its URL, instead of discovering it |
//! | `token_prefix` | `introspect`, `hybrid` | what its opaque tokens, and no other's, start with |
//! | `token_type_hint` | `introspect`, `hybrid` | the hint to send; none |
//! | `timeout_seconds` | `introspect`, `hybrid` | how long to wait for an answer |
//! | `require_signed_response` | `introspect`, `hybrid` | takes only signed answers (RFC 9701) |
//! | `danger_default_audience` | `introspect`, `hybrid` | the audience of tokens without one |
//! | `client` | `introspect`, `hybrid` | how this service authenticates to it |
//!
//! Of a client:
//!
//! | setting | methods | what it is |
//! |---|---|---|
//! | `method` | | `secret` (as the metadata says), `basic`, `basic_raw`, `post`, `bearer`, `private_key_jwt`, `client_secret_jwt`, `mtls` |
//! | `id` | all but `bearer` | the client identifier |
//! | `secret_file`, `secret_env` | those with a secret | where the secret is |
//! | `token_file`, `token_env` | `bearer` | where the token is |
//! | `key_file`, `key_env` | `private_key_jwt` | where the private key is, in PEM |
//! | `algorithm`, `kid` | `private_key_jwt` | what to sign with it, and its name |
//! | `certificate_file` | `mtls` | a file with its certificate, in PEM, and those that vouch for it |
//! | `key_file`, `key_env` | `mtls` | where the private key of the certificate is, in PEM; may be the same file |
//! | `assertion_audience` | `secret` and the two JWT ones | for whom assertions are meant, if not the issuer |
//!
//! To forward, the names of headers (see [`ForwardHeaders`]):
//!
//! | setting | what the header tells |
//! |---|---|
//! | `issuer`, `subject`, `client`, `scope` | that |
//! | `claims` | a table: of each claim named, its text |
//! | `json` | a table: of each claim named, its JSON |
//!
//! Of the metadata, as they stand in the document; an empty table will do:
//!
//! | setting | what it is |
//! |---|---|
//! | `scopes_supported` | the scopes that requests may need |
//! | `resource_name` | what to call this service before users; also `"resource_name#de"`, in German |
//! | `resource_documentation`, `resource_policy_uri`, `resource_tos_uri` | URLs of pages; also with a language |
//! | `jwks_uri` | where the keys are that sign responses |
//! | `resource_signing_alg_values_supported` | what they sign with |
//! | `authorization_details_types_supported` | the types of RFC 9396 |
//! | `max_age_seconds` | how long the document may be kept; 3600 |
//! | `without_cors` | does not let scripts of other origins read it |
//! | `signed` | a table: `issuer`, `algorithm`, `kid`, and `key_file` or `key_env`, to sign it with |
//!
//! Of proofs (see [`Dpop`](crate::proof::Dpop)):
//!
//! | setting | what it is |
//! |---|---|
//! | `url` | where clients reach this service: a URL, or several |
//! | `algorithms` | the algorithms of proofs |
//! | `window_seconds` | how far `iat` may be off; 30, at most 300 |
//! | `nonce` | `off`, `accept`, or `require`; off |
//! | `nonce_secret_file`, `nonce_secret_env` | where the secret is that instances share; random |
//! | `nonce_rotation_seconds` | after how long nonces are made with another key; 60, at least 10, at most 3600 |
//!
//! Of client certificates (see [`Mtls`](crate::proof::Mtls)); an empty table takes that of the TLS
//! connection:
//!
//! | setting | what it is |
//! |---|---|
//! | `field` | the header in which proxies tell it: `client_cert` (RFC 9440), or `xfcc` (Envoy) |
//! | `proxies` | who is believed it: addresses or networks, such as `10.1.2.0/24` |
//! | `keep_field` | leaves it on the request for the handler |
//!
//! A file can't say from where requests come, nor where the certificate of a connection is found: that
//! says the program, by `Config::peer_address_fn` and `Config::configure_mtls`. A store of used proofs
//! that instances share is set by `Config::configure_dpop`.
//!
//! Exactly one place of a secret is given. `danger_secret`, `danger_token`, `danger_key` and
//! `danger_nonce_secret` hold it in the file itself.
//!
//! All of it:
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
//! // The files are read now.
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

/// The settings of a [`ResourceServer`], from TOML or from a part of any document that serde reads.
///
/// See the [module docs](self) for the settings. Unknown ones are errors. `Debug` shows no secrets.
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
    /// Reads settings. Sends nothing, and reads no other file unless something is wrong.
    ///
    /// # Errors
    ///
    /// All that is wrong with the settings, each problem with the name of its setting. No problem
    /// shows the value of a secret. What [`build`](Self::build) would tell of the other settings is
    /// told along with it, so the files and variables with secrets and keys are read then.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let table = text.parse::<Table>().map_err(|error| {
            // Its `Display` form would quote the line, which may hold a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let mut problem = ConfigError::new();
            problem.push(format!("line {line}"), error.message());
            problem
        })?;
        Self::read(table)
    }

    /// The resource server. Reads the files and variables with secrets and keys; sends nothing.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub fn build(&self) -> Result<ResourceServer, ConfigError> {
        self.build_with(|builder| builder)
    }

    /// The same, with a change before it is built: to set a transport or a clock.
    ///
    /// A transport that is set here takes the place of those that the settings make of certificates
    /// (`ca_file`, `certificate_file`).
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
    /// All that is wrong.
    pub fn build_with(
        &self,
        change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder,
    ) -> Result<ResourceServer, ConfigError> {
        let (builder, mut problems, issuers) = self.assemble();
        // Without any issuer, that there is none would be told of those that are there.
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

    /// What [`build`](Self::build) builds, to change it before: to set a transport or a clock.
    ///
    /// # Errors
    ///
    /// If a file or a variable can't be read, or proxies are to be trusted and the program does not tell from
    /// where requests come.
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
