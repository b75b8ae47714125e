//! Changes of a configuration by the program: what a file can't say.

#[cfg(feature = "mtls")]
use std::{net::IpAddr, sync::Arc};

use super::file::Config;
#[cfg(feature = "dpop")]
use crate::proof::dpop::settings::Dpop;
#[cfg(feature = "mtls")]
use crate::{credentials::head::RequestHead, proof::mtls::settings::Mtls};

impl Config {
    /// Sets the function that returns the address a request comes from, for the trusted `proxies`
    /// of `[mtls]`.
    ///
    /// Without it, settings that trust proxies are refused.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_introspect::config::Config;
    ///
    /// let config = Config::from_toml(
    ///     r#"
    ///     audience = "https://api.example.com"
    ///     issuer = [{ issuer = "https://as.example.com", mode = "jwt" }]
    ///     mtls = { field = "client_cert", proxies = ["10.1.2.0/24"] }
    ///     "#,
    /// )?;
    /// assert!(config.build().is_err());
    /// // For `axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())`.
    /// let config = config.peer_address_fn(|head| {
    ///     let ConnectInfo(address) = head.extension::<ConnectInfo<SocketAddr>>()?;
    ///     Some(address.ip())
    /// });
    /// let resource_server = config.build()?;
    /// # let _ = resource_server;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Security
    ///
    /// The address must be that of the connection, never one from a header. See
    /// [`Mtls::trust_proxy`](crate::proof::Mtls::trust_proxy).
    #[cfg(feature = "mtls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "mtls")))]
    #[must_use]
    pub fn peer_address_fn<F>(mut self, address: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    {
        self.program.peer_address = Some(Arc::new(address));
        self
    }

    /// Changes how client certificates are found, if there is a table `[mtls]`.
    ///
    /// Use it to say where the certificate of the connection is.
    ///
    /// ```
    /// use tower_introspect::{config::Config, proof::PeerCertificate};
    ///
    /// #[derive(Clone)]
    /// struct Connection {
    ///     certificate: Option<PeerCertificate>,
    /// }
    ///
    /// let config = Config::from_toml(
    ///     r#"
    ///     audience = "https://api.example.com"
    ///     issuer = [{ issuer = "https://as.example.com", mode = "jwt" }]
    ///     mtls = {}
    ///     "#,
    /// )?
    /// .configure_mtls(|mtls| {
    ///     mtls.certificate_fn(|head| head.extension::<Connection>()?.certificate)
    /// });
    /// let resource_server = config.build()?;
    /// # let _ = resource_server;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    #[cfg(feature = "mtls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "mtls")))]
    #[must_use]
    pub fn configure_mtls<F>(mut self, change: F) -> Self
    where
        F: Fn(Mtls) -> Mtls + Send + Sync + 'static,
    {
        self.program.mtls.push(Box::new(change));
        self
    }

    /// Changes how DPoP proofs are verified, if there is a table `[dpop]`.
    ///
    /// Use it to set a store of used proofs that instances share, or to say which URI a request had
    /// when it arrived.
    ///
    /// ```
    /// use axum::extract::OriginalUri;
    /// use tower_introspect::config::Config;
    ///
    /// let config = Config::from_toml(
    ///     r#"
    ///     audience = "https://api.example.com"
    ///     issuer = [{ issuer = "https://as.example.com", mode = "jwt" }]
    ///     dpop = { url = "https://api.example.com" }
    ///     "#,
    /// )?
    /// .configure_dpop(|dpop| {
    ///     dpop.request_uri(|head| head.extension::<OriginalUri>().map(|OriginalUri(uri)| uri))
    /// });
    /// let resource_server = config.build()?;
    /// # let _ = resource_server;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    #[cfg(feature = "dpop")]
    #[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
    #[must_use]
    pub fn configure_dpop<F>(mut self, change: F) -> Self
    where
        F: Fn(Dpop) -> Dpop + Send + Sync + 'static,
    {
        self.program.dpop.push(Box::new(change));
        self
    }
}
