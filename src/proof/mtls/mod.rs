//! Proof of possession by a client certificate (RFC 8705 §3).

pub(crate) mod certificate;
pub(crate) mod field;
mod network;

use std::{fmt, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, Request};

use self::{certificate::PeerCertificate, field::CertificateField};
use self::{field::FIELDS, network::Network};
use super::{Presented, Shown, refuse};
use crate::{
    error::{config::ConfigError, refusal::VerifyError},
    field_names::{alike, remove, remove_but},
    respond::RequestHead,
};

/// Admits tokens that are bound to a client certificate, with that certificate (RFC 8705 §3).
///
/// For [`Policy::mtls`](crate::Policy::mtls) and `ResourceServerBuilder::mtls`. The certificate is that
/// of the TLS connection, which whoever terminates TLS leaves with the request, as a [`PeerCertificate`]
/// or as something that [`certificate_fn`](Self::certificate_fn) finds it in. Whether a certificate is
/// demanded, and which ones are valid, is for the TLS configuration to say.
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
/// Where a proxy terminates TLS, it tells the certificate in a header field. Nobody is believed one,
/// unless [`trust_proxy`](Self::trust_proxy) says whom and which.
///
/// Whoever sent them, the fields `Client-Cert`, `Client-Cert-Chain` (RFC 9440) and
/// `X-Forwarded-Client-Cert` are taken off requests before they go on, so that nothing below takes them
/// for more than they are.
///
/// # Responses
///
/// One to a request whose certificate was told in a field says so in `Vary` (RFC 9440 §2.4), unless it
/// may not be stored anyway.
#[derive(Clone)]
pub struct Mtls(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    certificate: Option<Arc<CertificateOf>>,
    proxies: Option<Proxies>,
    keep: bool,
}

type CertificateOf = dyn Fn(RequestHead<'_>) -> Option<PeerCertificate> + Send + Sync;
type AddressOf = dyn Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync;

/// Who is believed, about what, and who it is that sends a request.
#[derive(Clone)]
struct Proxies {
    field: CertificateField,
    networks: Vec<Network>,
    peer: Arc<AddressOf>,
}

/// A certificate that a proxy was believed, for layers within: the field is taken off on the way to
/// them.
#[derive(Clone)]
pub(crate) struct Believed {
    certificate: PeerCertificate,
    field: CertificateField,
    by: Mtls,
}

impl Mtls {
    /// Takes the certificate of the connection, where there is one.
    ///
    /// ```
    /// use http::Request;
    /// use tower_introspect::proof::{Mtls, PeerCertificate};
    ///
    /// # let der = [0x30, 0x00];
    /// // Where TLS ends, with what it knows of the client:
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
        Self(Arc::new(Inner::default()))
    }

    /// Says where the certificate of the connection is found. Where that is `None`, a
    /// [`PeerCertificate`] among the extensions of the request still counts.
    ///
    /// For tonic, with its TLS and one of its `tls-*` features:
    ///
    /// ```
    /// use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
    /// use tower_introspect::proof::{Mtls, PeerCertificate};
    ///
    /// let mtls = Mtls::new().certificate_fn(|head| {
    ///     let connection = head.extension::<TlsConnectInfo<TcpConnectInfo>>()?;
    ///     // The first is the client's own, the others are those that vouch for it.
    ///     PeerCertificate::from_der(connection.peer_certs()?.first()?)
    /// });
    /// # let _ = mtls;
    /// ```
    ///
    /// # Security
    ///
    /// What is said here is believed. It must come from the TLS of this connection, never from what a
    /// client can write into a request.
    #[must_use]
    pub fn certificate_fn<F>(self, certificate: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<PeerCertificate> + Send + Sync + 'static,
    {
        self.with(|inner| inner.certificate = Some(Arc::new(certificate)))
    }

    /// Believes proxies at these addresses what they write into `field` about their client. `peer` says
    /// who sends a request.
    ///
    /// Addresses are given as such or as networks: `10.1.2.3`, `10.1.2.0/24`, `2001:db8::/32`. From
    /// there only the field counts, and never the certificate of the connection: that is the proxy's. From
    /// elsewhere only the connection counts. Set again, it replaces what was set before.
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
    /// If there is no address, or one that is none, has bits beyond its prefix, or stands for everyone.
    ///
    /// # Security
    ///
    /// Whoever can send from one of these addresses can pass for any client. The proxy must take the
    /// field off what its clients send, with a certificate and without (RFC 9440 §4); and the address must
    /// be that of the connection, not one from a header such as `X-Forwarded-For`.
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

    /// Leaves the field that a trusted proxy wrote on the request, for a handler that reads more of the
    /// certificate. From others it is taken off all the same, as are the other fields.
    #[must_use]
    pub fn keep_field(self) -> Self {
        self.with(|inner| inner.keep = true)
    }

    /// Holds the certificate of a request against the thumbprint that the token is bound to.
    pub(super) fn check(
        &self,
        thumbprint: &str,
        presented: &Presented<'_>,
        shown: &mut Shown,
    ) -> Result<(), VerifyError> {
        let (certificate, believed) = match self.find(presented.head) {
            Ok(found) => found,
            Err(why) => return refuse(why),
        };
        if !certificate.has_thumbprint(thumbprint) {
            return refuse("the token is bound to another certificate");
        }
        shown.left.believed = believed.map(Box::new);
        Ok(())
    }

    /// The client's certificate, and if it was told by a proxy, the same to be left for layers within.
    fn find(
        &self,
        head: RequestHead<'_>,
    ) -> Result<(PeerCertificate, Option<Believed>), &'static str> {
        let inner = &*self.0;
        let before = head.extension::<Believed>().filter(|before| before.is_by(self));
        if let Some(before) = before {
            return Ok((before.certificate, Some(before.clone())));
        }
        if let Some(proxies) = inner.proxies.as_ref().filter(|proxies| proxies.sent(head)) {
            let field = proxies.field;
            let certificate = field.read(head.headers())?;
            return Ok((certificate, Some(Believed { certificate, field, by: self.clone() })));
        }
        let found = inner.certificate.as_deref().and_then(|certificate| certificate(head));
        match found.or_else(|| head.extension().copied()) {
            Some(certificate) => Ok((certificate, None)),
            None => Err("the token is bound to a certificate, and there is none"),
        }
    }

    /// Takes off what only a proxy may say, whoever sent it.
    pub(super) fn strip_all(headers: &mut HeaderMap) {
        remove(headers, is_field);
    }

    /// Takes off what only a proxy may say, and nobody here.
    pub(super) fn strip<B>(&self, request: &mut Request<B>) {
        let head = RequestHead::of(request);
        let told = self.0.proxies.as_ref().filter(|proxies| proxies.have_told(head));
        // Only one that is one certificate: beside it could stand what the client wrote.
        let read = told.filter(|proxies| proxies.field.read(head.headers()).is_ok());
        let kept = read.filter(|_| self.0.keep).map(|proxies| proxies.field.name());
        // A layer within may want it of a request that this one lets in without a token.
        let believed = told.and_then(|_| self.find(head).ok()?.1);
        let is_kept =
            |name: &[u8]| kept.as_ref().is_some_and(|kept| kept.as_str().as_bytes() == name);
        remove_but(request.headers_mut(), is_field, is_kept);
        if let Some(believed) = believed {
            request.extensions_mut().insert(believed);
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

/// Whether a field is one of those, by whatever spelling that careless readers take for it.
fn is_field(name: &[u8]) -> bool {
    FIELDS.iter().any(|field| alike(name, field.as_str().as_bytes()))
}

impl Proxies {
    /// Whether the request comes from one of them.
    fn sent(&self, head: RequestHead<'_>) -> bool {
        (self.peer)(head).is_some_and(|peer| self.networks.iter().any(|network| network.has(peer)))
    }

    /// Whether there is something that one of them wrote.
    fn have_told(&self, head: RequestHead<'_>) -> bool {
        head.headers().contains_key(self.field.name()) && self.sent(head)
    }
}

impl Believed {
    /// Another setting may trust others.
    fn is_by(&self, mtls: &Mtls) -> bool {
        Arc::ptr_eq(&self.by.0, &mtls.0)
    }

    /// The field that the response varies by.
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

impl fmt::Debug for Believed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Believed").finish_non_exhaustive()
    }
}
