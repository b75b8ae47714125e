//! Serves connections within bounds, until the process is told to end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

/// The most connections at a time, where the settings do not say it.
pub(crate) const MAX_CONNECTIONS: usize = 1024;

/// The most bytes of the head of a request. Client certificates and their chain are in it, and tokens.
const MAX_HEAD: usize = 64 * 1024;

/// How long a connection may be idle or take to send the head of a request. Proxies keep connections
/// for a minute or two, and must not find one closed that they are about to use.
const MAX_IDLE: Duration = Duration::from_secs(300);

/// The time that requests have to end after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);

/// The address that a request comes from.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves until `stop` is true, and then until the last request has ended. Connections beyond `most`
/// wait until another one closes.
///
/// # Errors
///
/// If requests take longer than [`GRACE`] to end.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    most: usize,
    mut stop: watch::Receiver<bool>,
) -> Result<(), &'static str> {
    let connections = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(MAX_IDLE).max_buf_size(MAX_HEAD);
    let free = Arc::new(Semaphore::new(most));
    loop {
        let accept = async {
            let permit = Arc::clone(&free).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accept => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of a client that is gone already, or for want of file descriptors, until some are
                // closed.
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let app = TowerToHyperService::new(app.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            hyper::service::Service::call(&app, request.map(Body::new) as Request)
        });
        let connection = connections.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    let ended = tokio::time::timeout(GRACE, connections.shutdown()).await;
    ended.map_err(|_| "some requests had not ended in time")
}

/// Returns a future that waits for SIGINT or SIGTERM, and names it.
///
/// The call installs the handlers, so from then on no such signal ends the process at once.
#[cfg(unix)]
pub(crate) fn end() -> std::io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}

#[cfg(windows)]
pub(crate) fn end() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
        "ctrl-c"
    })
}
