//! Terminates TLS for axum, and provides the certificate of each connection.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, server::WebPkiClientVerifier},
    server::TlsStream,
};
use tower_introspect::proof::PeerCertificate;

use super::pki::{Authority, provider};

pub struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl TlsListener {
    /// Listens on a free port. Clients may send a certificate of the authority.
    pub async fn bind(authority: &Authority) -> (Self, SocketAddr) {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = tcp.local_addr().expect("bound");
        (Self { tcp, tls: TlsAcceptor::from(Arc::new(server_config(authority))) }, address)
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (tcp, peer) = self.tcp.accept().await.expect("a connection");
            if let Ok(tls) = self.tls.accept(tcp).await {
                return (tls, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// The certificate of a connection.
#[derive(Clone)]
pub struct ConnectionCertificate(pub Option<PeerCertificate>);

impl Connected<IncomingStream<'_, TlsListener>> for ConnectionCertificate {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let chain = stream.io().get_ref().1.peer_certificates();
        Self(chain.and_then(|chain| PeerCertificate::from_der(chain.first()?)))
    }
}

fn server_config(authority: &Authority) -> ServerConfig {
    let clients = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider())
        .allow_unauthenticated()
        .build()
        .expect("roots");
    let own = authority.server();
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_client_cert_verifier(clients)
        .with_single_cert(own.chain(), own.key())
        .expect("a certificate and its key")
}
