//! The settings of certificate-bound tokens, and the check of a certificate.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, Request};

use super::{
    certificate::PeerCertificate,
    field::{CertificateField, FIELDS},
    network::{self, Network},
};
use crate::{
    credentials::head::RequestHead,
    error::{config::ConfigError, refusal::VerifyError},
    field_names::{may_be_confused, remove, remove_except},
    proof::presented::{Presented, unproven},
};

/// Admits tokens that are bound to a client certificate together with that certificate (RFC 8705
/// §3).
///
/// Set it with [`Policy::mtls`](crate::Policy::mtls) or `ResourceServerBuilder::mtls`. The
/// certificate is that of the TLS connection. The TLS server attaches it to the request as a
/// [`PeerCertificate`], or as data from which [`certificate_fn`](Self::certificate_fn) extracts it.
/// The TLS configuration decides whether a certificate is required and which ones are valid.
///
/// ```
/// use tower_introspect::{Policy, proof::Mtls};
///
/// let policy = Policy::new("https://api.example.com").mtls(Mtls::new());
/// # let _ = policy;
/// ```
///
/// # Behind a proxy
///
/// If a proxy terminates TLS, it passes on the certificate in a header. The header is ignored
/// unless [`trust_proxy`](Self::trust_proxy) names the proxy and the header.
///
/// The headers `Client-Cert`, `Client-Cert-Chain` (RFC 9440), `X-Forwarded-Client-Cert`,
/// `X-Forwarded-Tls-Client-Cert` and `X-Forwarded-Tls-Client-Cert-Info` are removed from every
/// request before it is passed on, whoever sent them, so that no inner service
/// trusts them by mistake. [`keep_field`](Self::keep_field) makes an exception for a trusted proxy.
///
/// # Responses
///
/// If the certificate came in a header, the response names that header in `Vary` (RFC 9440 §2.4),
/// unless the response must not be stored anyway.
#[derive(Clone)]
pub struct Mtls(Arc<MtlsConfig>);

#[derive(Clone, Default)]
struct MtlsConfig {
    certificate: Option<Arc<CertificateFn>>,
    proxies: Option<Proxies>,
    keep_field: bool,
}

type CertificateFn = dyn Fn(RequestHead<'_>) -> Option<PeerCertificate> + Send + Sync;

type AddressFn = dyn Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync;

/// The trusted proxies, the header they set, and a way to find the sender of a request.
#[derive(Clone)]
struct Proxies {
    field: CertificateField,
    networks: Vec<Network>,
    peer: Arc<AddressFn>,
}

/// A certificate that a trusted proxy passed on, kept for inner layers: the header is removed
/// before they run.
#[derive(Clone)]
pub(crate) struct ForwardedCertificate {
    certificate: PeerCertificate,
    field: CertificateField,
    by: Mtls,
}

impl Mtls {
    /// Uses the certificate of the connection, if there is one.
    ///
    /// ```
    /// use http::Request;
    /// use tower_introspect::proof::{Mtls, PeerCertificate};
    ///
    /// # let der = [0x30, 0x00];
    /// // In the TLS server, with the certificate of the client:
    /// let mut request = Request::new(());
    /// if let Some(certificate) = PeerCertificate::from_der(&der) {
    ///     request.extensions_mut().insert(certificate);
    /// }
    ///
    /// let mtls = Mtls::new();
    /// # let _ = mtls;
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(MtlsConfig::default()))
    }

    /// Sets how to find the certificate of the connection.
    ///
    /// If `certificate` returns `None`, a [`PeerCertificate`] in the extensions of the request
    /// still counts.
    ///
    /// For tonic, with its TLS and one of its `tls-*` features:
    ///
    /// ```
    /// use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
    /// use tower_introspect::proof::{Mtls, PeerCertificate};
    ///
    /// let mtls = Mtls::new().certificate_fn(|head| {
    ///     let connection = head.extension::<TlsConnectInfo<TcpConnectInfo>>()?;
    ///     // The first is the client's own certificate, the others are its issuers.
    ///     PeerCertificate::from_der(connection.peer_certs()?.first()?)
    /// });
    /// # let _ = mtls;
    /// ```
    ///
    /// # Security
    ///
    /// The returned certificate is trusted. It must come from the TLS state of this connection,
    /// never from request data that a client can write.
    #[must_use]
    pub fn certificate_fn<F>(self, certificate: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<PeerCertificate> + Send + Sync + 'static,
    {
        self.with(|inner| inner.certificate = Some(Arc::new(certificate)))
    }

    /// Trusts proxies at these addresses to name the certificate of their client in `field`.
    ///
    /// `peer` returns the address that sent a request. `networks` holds addresses or networks:
    /// `10.1.2.3`, `10.1.2.0/24`, `2001:db8::/32`. For requests from these addresses only the
    /// header counts, never the certificate of the connection, which is the proxy's own. For all
    /// other requests only the certificate of the connection counts. A second call replaces the
    /// first.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_introspect::proof::{CertificateField, Mtls};
    ///
    /// // For `axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())`.
    /// let mtls = Mtls::new().trust_proxy(CertificateField::ClientCert, ["10.1.2.0/24"], |head| {
    ///     let ConnectInfo(address) = head.extension::<ConnectInfo<SocketAddr>>()?;
    ///     Some(address.ip())
    /// })?;
    /// # let _ = mtls;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no address, or if one is invalid, has bits beyond its prefix, or covers all
    /// addresses.
    ///
    /// # Security
    ///
    /// A sender at one of these addresses can impersonate any client. The proxy must remove the
    /// header from the requests of its clients, with and without a certificate (RFC 9440 §4). The
    /// address must be that of the connection, not one from a header such as `X-Forwarded-For`.
    pub fn trust_proxy<'a, F>(
        self,
        field: CertificateField,
        networks: impl IntoIterator<Item = &'a str>,
        peer: F,
    ) -> Result<Self, ConfigError>
    where
        F: Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    {
        let networks = network::parse_all(networks)?;
        let proxies = Proxies { field, networks, peer: Arc::new(peer) };
        Ok(self.with(|inner| inner.proxies = Some(proxies)))
    }

    /// Keeps the header of a trusted proxy on the request, for a handler that reads more of the
    /// certificate.
    ///
    /// It is still removed from requests of other senders, as are the other headers.
    #[must_use]
    pub fn keep_field(self) -> Self {
        self.with(|inner| inner.keep_field = true)
    }

    /// Compares the certificate of a request with the thumbprint that the token is bound to.
    ///
    /// Returns the certificate for inner layers if a proxy named it.
    pub(crate) fn check(
        &self,
        thumbprint: &str,
        presented: &Presented<'_>,
    ) -> Result<Option<Box<ForwardedCertificate>>, VerifyError> {
        let (certificate, forwarded) = match self.find(presented.head) {
            Ok(found) => found,
            Err(why) => return unproven(why),
        };
        if !certificate.has_thumbprint(thumbprint) {
            return unproven("the token is bound to another certificate");
        }
        Ok(forwarded.map(Box::new))
    }

    /// Returns the client's certificate and, if a proxy named it, a copy for inner layers.
    fn find(
        &self,
        head: RequestHead<'_>,
    ) -> Result<(PeerCertificate, Option<ForwardedCertificate>), &'static str> {
        let inner = &*self.0;
        let before = head.extension::<ForwardedCertificate>().filter(|before| before.is_by(self));
        if let Some(before) = before {
            return Ok((before.certificate, Some(before.clone())));
        }
        if let Some(proxies) = inner.proxies.as_ref().filter(|proxies| proxies.sent(head)) {
            let field = proxies.field;
            let certificate = field.read(head.headers())?;
            return Ok((
                certificate,
                Some(ForwardedCertificate { certificate, field, by: self.clone() }),
            ));
        }
        let found = inner.certificate.as_deref().and_then(|certificate| certificate(head));
        match found.or_else(|| head.extension().copied()) {
            Some(certificate) => Ok((certificate, None)),
            None => Err("the token is bound to a certificate, but the request has none"),
        }
    }

    /// Removes the headers that only a proxy may set, whoever sent them.
    pub(crate) fn strip_all(headers: &mut HeaderMap) {
        remove(headers, is_field);
    }

    /// Removes these headers, but keeps that of a trusted proxy if configured.
    pub(crate) fn strip<B>(&self, request: &mut Request<B>) {
        let head = RequestHead::of(request);
        let proxies = self.0.proxies.as_ref().filter(|proxies| proxies.sent_field(head));
        // Keeps the header only if it is one valid certificate: a client may have written part of
        // any other value.
        let valid = proxies.filter(|proxies| proxies.field.read(head.headers()).is_ok());
        let kept = valid.filter(|_| self.0.keep_field).map(|proxies| proxies.field.name());
        // An inner layer may need it even if this layer admits the request without a token.
        let forwarded = proxies.and_then(|_| self.find(head).ok()?.1);
        let is_kept =
            |name: &[u8]| kept.as_ref().is_some_and(|kept| kept.as_str().as_bytes() == name);
        remove_except(request.headers_mut(), is_field, is_kept);
        if let Some(forwarded) = forwarded {
            request.extensions_mut().insert(forwarded);
        }
    }

    fn with(mut self, change: impl FnOnce(&mut MtlsConfig)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

/// Returns true if `name` is one of these headers, in any spelling that lenient servers fold to it.
fn is_field(name: &[u8]) -> bool {
    FIELDS.iter().any(|field| may_be_confused(name, field.as_str().as_bytes()))
}

impl Proxies {
    /// Returns true if one of the proxies sent the request.
    fn sent(&self, head: RequestHead<'_>) -> bool {
        (self.peer)(head)
            .is_some_and(|peer| self.networks.iter().any(|network| network.contains(peer)))
    }

    /// Returns true if one of the proxies sent the request and it has the header.
    fn sent_field(&self, head: RequestHead<'_>) -> bool {
        head.headers().contains_key(self.field.name()) && self.sent(head)
    }
}

impl ForwardedCertificate {
    /// Returns true if this very `Mtls` created it: another one may trust other proxies.
    fn is_by(&self, mtls: &Mtls) -> bool {
        Arc::ptr_eq(&self.by.0, &mtls.0)
    }

    /// Returns the header that the response varies by.
    pub(crate) const fn field(&self) -> HeaderName {
        self.field.name()
    }
}

impl Default for Mtls {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Mtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxies = self.0.proxies.as_ref();
        f.debug_struct("Mtls")
            .field("field", &proxies.map(|proxies| proxies.field))
            .field("proxies", &proxies.map(|proxies| &proxies.networks))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ForwardedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardedCertificate").finish_non_exhaustive()
    }
}
