//! Builds an HTTP transport from settings that name no type of the HTTP client.

use std::{fmt, time::Duration};

use reqwest::{Certificate, ClientBuilder, Identity, Proxy};

use super::{http_transport::HttpTransport, reqwest::ReqwestTransport};
use crate::error::config::ConfigError;

/// A builder that configures an [`HttpTransport`] with a pooled client.
///
/// It takes certificates as PEM text, so an application needs no dependency on `reqwest` in the
/// version of this crate. For other settings, see [`ReqwestTransport::from_builder`]. Files are read
/// by the application, once: see [`RenewedTransport`](super::RenewedTransport) for a certificate
/// that is renewed.
///
/// ```no_run
/// use std::time::Duration;
/// use tower_introspect::{Issuer, ResourceServer, transport::HttpTransport};
///
/// let transport = HttpTransport::builder()
///     .ca_pem(std::fs::read("/etc/api/authorities.pem")?)
///     .connect_timeout(Duration::from_secs(2))
///     .without_proxy()
///     .build()?;
/// let api = ResourceServer::builder("https://api.example.com")
///     .issuer(Issuer::jwt("https://as.internal.example.com"))
///     .transport(transport)
///     .build()?;
/// # let _ = api;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// One issuer alone gets a transport of its own by `configure_jwt(|jwt| jwt.transport(..))` and
/// `configure_introspection(|ask| ask.transport(..))`.
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until built"]
pub struct TransportBuilder {
    authorities: Vec<Vec<u8>>,
    identity: Option<Vec<u8>>,
    proxy: Option<ProxyUse>,
    connect_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    max_idle: Option<usize>,
}

#[derive(Clone)]
enum ProxyUse {
    Never,
    Always(String),
}

impl HttpTransport {
    /// Creates a builder with the defaults of [`reqwest`](Self::reqwest).
    ///
    /// See [`TransportBuilder`] for an example.
    #[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
    pub fn builder() -> TransportBuilder {
        TransportBuilder::default()
    }
}

impl TransportBuilder {
    /// Trusts the authorities whose certificates are in this PEM text, instead of those of the
    /// system. Can be called for several texts.
    pub fn ca_pem(mut self, certificates: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(certificates.into());
        self
    }

    /// Sets the certificate of this service and its private key, in one PEM text, for servers that
    /// require one (RFC 8705 §2).
    pub fn identity_pem(mut self, certificate_and_key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some(certificate_and_key.into());
        self
    }

    /// Sends all requests through the proxy with this URL: `http`, or `https` for a TLS connection
    /// to the proxy itself.
    ///
    /// By default the environment decides: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    ///
    /// # Security
    ///
    /// The proxy sees tokens and credentials in requests to `http` URLs. Those to `https` URLs go
    /// through a tunnel that it can't read.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(ProxyUse::Always(url.into()));
        self
    }

    /// Uses no proxy, whatever the environment says.
    pub fn without_proxy(mut self) -> Self {
        self.proxy = Some(ProxyUse::Never);
        self
    }

    /// Sets how long to wait for a connection, TLS included. 1 s by default.
    ///
    /// The time for a whole request is a setting of the verifier that sends it.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Sets how long an idle connection is kept. 90 s by default.
    ///
    /// Choose less than the time after which the server, or a firewall on the way, closes it.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets how many idle connections to one server are kept. Not limited by default. With zero,
    /// each request opens a connection.
    pub const fn max_idle_connections(mut self, connections: usize) -> Self {
        self.max_idle = Some(connections);
        self
    }

    /// Builds the transport. Opens no connection.
    ///
    /// # Errors
    ///
    /// Returns every problem, with the name of its setting. No problem shows the content of a PEM
    /// text or the URL of the proxy, which may hold a password.
    pub fn build(self) -> Result<HttpTransport, ConfigError> {
        let mut problems = ConfigError::new();
        let authorities = self.read_authorities(&mut problems);
        let identity = self.read_identity(&mut problems);
        let proxy = self.read_proxy(&mut problems);
        // With a part missing, the problems of the rest would be misleading.
        problems.or_ok(())?;
        let builder = || {
            let builder = trusting(self.with_limits(), &authorities);
            let builder = match &identity {
                Some(identity) => builder.identity(identity.clone()),
                None => builder,
            };
            match (&proxy, &self.proxy) {
                (Some(proxy), _) => builder.proxy(proxy.clone()),
                (None, Some(ProxyUse::Never)) => builder.no_proxy(),
                (None, _) => builder,
            }
        };
        let built = ReqwestTransport::from_builder(builder).map(HttpTransport::from);
        // All else was tried already.
        let setting = if identity.is_some() { "identity_pem" } else { "client" };
        built.map_err(|error| {
            error.problems().fold(ConfigError::new(), |mut all, (_, problem)| {
                all.push(setting, problem);
                all
            })
        })
    }

    fn with_limits(&self) -> ClientBuilder {
        let mut builder = ReqwestTransport::builder();
        if let Some(timeout) = self.connect_timeout {
            builder = builder.connect_timeout(timeout);
        }
        if let Some(timeout) = self.idle_timeout {
            builder = builder.pool_idle_timeout(timeout);
        }
        match self.max_idle {
            Some(connections) => builder.pool_max_idle_per_host(connections),
            None => builder,
        }
    }

    fn read_authorities(&self, problems: &mut ConfigError) -> Vec<Certificate> {
        let mut all = Vec::new();
        for pem in &self.authorities {
            let found = Certificate::from_pem_bundle(pem).unwrap_or_default();
            // Only the client reads what is inside of the PEM text.
            let builder = || trusting(ReqwestTransport::builder(), &found);
            if found.is_empty() || ReqwestTransport::from_builder(builder).is_err() {
                problems.push("ca_pem", "no certificates in PEM");
            }
            all.extend(found);
        }
        all
    }

    fn read_identity(&self, problems: &mut ConfigError) -> Option<Identity> {
        // The error could reveal content of the text.
        let identity = Identity::from_pem(self.identity.as_ref()?).ok();
        if identity.is_none() {
            let problem = "expected a certificate and exactly one private key, in PEM";
            problems.push("identity_pem", problem);
        }
        identity
    }

    fn read_proxy(&self, problems: &mut ConfigError) -> Option<Proxy> {
        let Some(ProxyUse::Always(url)) = &self.proxy else { return None };
        let is_web = url.starts_with("http://") || url.starts_with("https://");
        let proxy = is_web.then(|| Proxy::all(url).ok()).flatten();
        if proxy.is_none() {
            problems.push("proxy", "not the http or https URL of a proxy");
        }
        proxy
    }
}

/// Trusts these authorities alone, or those of the system if there are none.
fn trusting(builder: ClientBuilder, authorities: &[Certificate]) -> ClientBuilder {
    if authorities.is_empty() {
        builder
    } else {
        builder.tls_certs_only(authorities.iter().cloned())
    }
}

impl fmt::Debug for TransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportBuilder")
            .field("connect_timeout", &self.connect_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_idle_connections", &self.max_idle)
            .finish_non_exhaustive()
    }
}
