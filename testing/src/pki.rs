//! Certificates of a test authority, and a TLS client with or without one.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion,
        client::ResolvesClientCert,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
        sign::CertifiedKey,
    },
};

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A signed certificate and its key.
pub struct Signed {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        // OpenSSL would take issuer and subject of the same name for the same entity.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Signed {
        self.sign_with(name, usage, KeyPair::generate().expect("a key"), |_| ())
    }

    /// Signs a certificate of this key, after a change of its parameters.
    pub fn sign_with(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Signed {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Signed { certificate, key }
    }

    pub fn client(&self) -> Signed {
        self.sign("client", ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub fn server(&self) -> Signed {
        self.sign("localhost", ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a root");
        Arc::new(roots)
    }
}

impl Signed {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A client that resumes its sessions.
pub struct Client {
    connector: TlsConnector,
    shown: Arc<ClientCertificate>,
}

/// The certificate of a client, if it is enabled.
#[derive(Debug)]
struct ClientCertificate {
    key: Option<Arc<CertifiedKey>>,
    now: AtomicBool,
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key.clone().filter(|_| self.now.load(Ordering::Relaxed))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A response.
#[derive(Debug)]
pub struct ClientResponse {
    pub status: u16,
    /// Status line, fields and body.
    pub text: String,
    pub is_resumed: bool,
}

impl Client {
    pub fn new(
        authority: &Authority,
        own: Option<&Signed>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let key = own.map(|own| {
            let key = CertifiedKey::from_der(own.chain(), own.key(), &provider());
            Arc::new(key.expect("a key that can sign"))
        });
        let shown = Arc::new(ClientCertificate { key, now: AtomicBool::new(true) });
        let resolver: Arc<dyn ResolvesClientCert> = shown.clone();
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("a version")
            .with_root_certificates(authority.roots())
            .with_client_cert_resolver(resolver);
        Self { connector: TlsConnector::from(Arc::new(config)), shown }
    }

    /// Sets whether the client sends its certificate from now on.
    pub fn send_certificate(&self, now: bool) {
        self.shown.now.store(now, Ordering::Relaxed);
    }

    /// Sends `GET /` over a new connection, with a token and these further lines.
    pub async fn get(&self, address: SocketAddr, token: &str, lines: &str) -> ClientResponse {
        let request = format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\n{lines}\r\n"
        );
        self.send(address, &request).await
    }

    /// Sends a request as it is, over a new connection, which the response must end.
    pub async fn send(&self, address: SocketAddr, request: &str) -> ClientResponse {
        self.try_send(address, request).await.expect("no answer")
    }

    /// Returns `None` if the server ends the connection without a response.
    pub async fn try_send(&self, address: SocketAddr, request: &str) -> Option<ClientResponse> {
        let tcp = TcpStream::connect(address).await.expect("not listening");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = self.connector.connect(name, tcp).await.ok()?;
        tls.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        // A connection closed without `close_notify` has delivered the full response.
        let _ = tls.read_to_end(&mut answer).await;
        let text = String::from_utf8(answer).expect("text");
        let status = text.split(' ').nth(1)?.parse().ok()?;
        let is_resumed = tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        Some(ClientResponse { status, text, is_resumed })
    }
}
