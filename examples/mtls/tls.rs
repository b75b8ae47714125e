//! A TLS listener for `axum::serve` that leaves the client's certificate with each request.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tower_introspect::proof::PeerCertificate;

/// The time limit of a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The maximum number of concurrent handshakes.
const HANDSHAKES: usize = 256;

type Accepted = (TlsStream<TcpStream>, SocketAddr);

pub(crate) struct TlsListener {
    accepted: mpsc::Receiver<Accepted>,
    address: SocketAddr,
}

impl TlsListener {
    pub(crate) fn new(tcp: TcpListener, config: ServerConfig) -> io::Result<Self> {
        let address = tcp.local_addr()?;
        let (ready, accepted) = mpsc::channel(HANDSHAKES);
        tokio::spawn(accept(tcp, TlsAcceptor::from(Arc::new(config)), ready));
        Ok(Self { accepted, address })
    }
}

/// Runs each handshake in its own task, so that a silent client delays no other.
async fn accept(tcp: TcpListener, tls: TlsAcceptor, ready: mpsc::Sender<Accepted>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, peer) = tokio::select! {
            () = ready.closed() => return,
            accepted = tcp.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_) => {
                    // For example, no file descriptor is free. Wait until other connections end.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                // Fails only if the server has ended.
                let _ = ready.send((stream, peer)).await;
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // Unreachable: the sending task runs as long as the receiver exists.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// The certificate of a connection. Handlers and layers find it as `ConnectInfo<Connection>`.
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) certificate: Option<PeerCertificate>,
}

impl Connected<IncomingStream<'_, TlsListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let (_, tls) = stream.io().get_ref();
        // The first is the client's own. The others vouch for it.
        let own = tls.peer_certificates().and_then(|chain| chain.first());
        Self { certificate: own.and_then(|own| PeerCertificate::from_der(own)) }
    }
}
