//! The settings, for the program `introspect`. Not a part of the API.

use std::{path::PathBuf, time::Duration};

use http::HeaderName;

#[cfg(feature = "mtls")]
use super::mtls::MtlsConfig;
#[cfg(feature = "signals")]
use super::signals::SignalsConfig;
use super::{file::Config, issuer::IssuerConfig};
#[cfg(feature = "mtls")]
use crate::proof::mtls::field::CertificateField;
use crate::{
    cache::layer, error::config::ConfigError, introspection::builder::IntrospectionVerifierBuilder,
    jose::algorithm::Algorithm, jwt::profile::Profile, policy,
};

#[expect(missing_docs, reason = "they are called as in the file")]
/// The settings of a resource server, with the defaults of those that are not given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Settings {
    pub audiences: Vec<String>,
    pub required_scopes: Vec<String>,
    pub leeway: Duration,
    pub max_age: Duration,
    pub jwt_max_age: Duration,
    pub max_token_bytes: Option<usize>,
    pub stale_if_error: Duration,
    pub loopback_http: bool,
    /// The header with the token, if `Authorization` is not read.
    pub token_header: Option<HeaderName>,
    pub has_metadata: bool,
    pub has_dpop: bool,
    pub has_mtls: bool,
    /// True if there are settings of connections, such as trusted authorities or a certificate.
    pub has_own_connections: bool,
    /// The proxy of `[transport]`, if it names one.
    pub proxy: Option<String>,
    pub without_proxy: bool,
    /// The header with the certificate, if a proxy is trusted to set one.
    #[cfg(feature = "mtls")]
    pub certificate_field: Option<CertificateField>,
    pub issuers: Vec<IssuerSettings>,
    #[cfg(feature = "signals")]
    pub signals: Option<SignalSettings>,
}

#[expect(missing_docs, reason = "they are called as in the file")]
/// The settings of one issuer.
#[derive(Debug)]
#[non_exhaustive]
pub struct IssuerSettings {
    pub issuer: String,
    pub mode: &'static str,
    pub ca_file: Option<PathBuf>,
    pub jwks_uri: Option<String>,
    pub jwks_file: Option<PathBuf>,
    pub max_keys: Option<usize>,
    pub max_keys_tried: Option<usize>,
    pub algorithms: Option<Vec<Algorithm>>,
    pub profile: Option<Profile>,
    pub accepts_unmarked: bool,
    pub has_audience_claim: bool,
    pub endpoint: Option<String>,
    pub hint: Option<String>,
    pub timeout: Option<Duration>,
    pub requires_signed_response: bool,
    pub has_default_audience: bool,
    pub confirmation_max_age: Option<Duration>,
    pub client: Option<ClientSettings>,
}

#[expect(missing_docs, reason = "they are called as in the file")]
/// The credentials for introspection. Holds the location of the secret, not the secret.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClientSettings {
    pub method: &'static str,
    pub id: Option<String>,
    pub secret_location: String,
}

#[cfg(feature = "signals")]
#[expect(missing_docs, reason = "they are called as in the file")]
/// The settings of the table `[signals]`.
#[derive(Debug)]
#[non_exhaustive]
pub struct SignalSettings {
    pub logout_client_id: Option<String>,
    pub logout_cut_by_subject: bool,
    pub transmitters: Vec<TransmitterSettings>,
}

#[cfg(feature = "signals")]
#[expect(missing_docs, reason = "they are called as in the file")]
/// The settings of one transmitter.
#[derive(Debug)]
#[non_exhaustive]
pub struct TransmitterSettings {
    pub issuer: String,
    pub audience: String,
    pub speaks_for: Vec<String>,
    pub jwks_uri: Option<String>,
    pub jwks_file: Option<PathBuf>,
    pub has_authorization: bool,
    pub critical_members: Vec<String>,
    pub cut_by_subject: bool,
    pub verified_within: Option<Duration>,
    pub is_polled: bool,
    pub stream_id: Option<String>,
    pub poll_url: Option<String>,
    pub verify_every: Option<Duration>,
    pub ca_file: Option<PathBuf>,
    /// The client, or one with the method `access_token`.
    pub access: Option<ClientSettings>,
}

impl Config {
    /// Returns the settings.
    #[doc(hidden)]
    #[must_use]
    pub fn inspect(&self) -> Settings {
        Settings {
            audiences: self.audiences.clone(),
            required_scopes: self.scopes.clone(),
            leeway: self.leeway.unwrap_or(policy::settings::DEFAULT_LEEWAY),
            max_age: self.max_age.unwrap_or(layer::DEFAULT_MAX_AGE),
            jwt_max_age: layer::DEFAULT_JWT_MAX_AGE,
            max_token_bytes: self.max_token_bytes,
            stale_if_error: self.stale_if_error.unwrap_or_default(),
            loopback_http: self.loopback_http,
            token_header: self
                .token_headers
                .first()
                .filter(|_| self.without_authorization)
                .cloned(),
            has_metadata: self.metadata.is_some(),
            has_own_connections: self.transport.is_some()
                || self.issuers.iter().any(IssuerConfig::has_own_connections),
            proxy: self.transport.as_ref().and_then(|transport| transport.proxy.clone()),
            without_proxy: self.transport.as_ref().is_some_and(|it| it.without_proxy),
            #[cfg(feature = "dpop")]
            has_dpop: self.dpop.is_some(),
            #[cfg(not(feature = "dpop"))]
            has_dpop: false,
            #[cfg(feature = "mtls")]
            has_mtls: self.mtls.is_some(),
            #[cfg(not(feature = "mtls"))]
            has_mtls: false,
            #[cfg(feature = "mtls")]
            certificate_field: self.mtls.as_ref().and_then(MtlsConfig::field),
            issuers: self.issuers.iter().map(|issuer| self.inspect_issuer(issuer)).collect(),
            #[cfg(feature = "signals")]
            signals: self.signals.as_ref().map(SignalsConfig::inspect),
        }
    }

    fn inspect_issuer(&self, issuer: &IssuerConfig) -> IssuerSettings {
        let settings = issuer.inspect();
        let of_all = || self.transport.as_ref()?.ca_file.clone();
        IssuerSettings { ca_file: settings.ca_file.clone().or_else(of_all), ..settings }
    }

    /// Returns a builder for introspection at the issuer with index `at`, if its tokens are
    /// introspected. Reads the files with its secrets.
    ///
    /// # Errors
    ///
    /// Returns an error if the files can't be read.
    #[doc(hidden)]
    pub fn introspection(
        &self,
        at: usize,
    ) -> Result<Option<IntrospectionVerifierBuilder>, ConfigError> {
        let Some(issuer) = self.issuers.get(at) else { return Ok(None) };
        let builder = issuer.introspection()?;
        Ok(builder.map(|builder| match self.loopback_http {
            true => builder.danger_allow_http_loopback(),
            false => builder,
        }))
    }
}
