//! The authorization server on a socket.

use std::{
    convert::Infallible,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use super::{serve::Reply, server::AuthorizationServer};

/// The limit on the size of a request body, in bytes.
const MAX_BODY: usize = 256 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An [`AuthorizationServer`] that listens on a socket. It stops when this is dropped.
pub struct Listening {
    address: SocketAddr,
    task: AbortHandle,
}

impl AuthorizationServer {
    /// Starts a server on a free port of 127.0.0.1, whose URL is also its issuer.
    ///
    /// The issuer looks like `http://127.0.0.1:49152`.
    ///
    /// ```
    /// use tower_introspect::test_util::AuthorizationServer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let (server, listening) = AuthorizationServer::on_loopback().await?;
    /// assert_eq!(server.issuer(), format!("http://{}", listening.address()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no port can be bound.
    pub async fn on_loopback() -> io::Result<(Self, Listening)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = Self::new(format!("http://{}", listener.local_addr()?));
        let listening = server.listen_on(listener)?;
        Ok((server, listening))
    }

    /// Also listens on a free port of 127.0.0.1, for HTTP/1.1 without TLS.
    ///
    /// The issuer and the URLs in the metadata do not change.
    ///
    /// # Errors
    ///
    /// Returns an error if no port can be bound.
    pub async fn listen(&self) -> io::Result<Listening> {
        self.listen_at(0).await
    }

    /// Also listens on `port` of 127.0.0.1, for a server that needs a fixed address.
    ///
    /// ```
    /// use tower_introspect::test_util::AuthorizationServer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    /// let port = 9000;
    /// # let port = free;
    /// let server = AuthorizationServer::new(format!("http://127.0.0.1:{port}"));
    /// let listening = server.listen_at(port).await?;
    /// assert_eq!(listening.address().port(), port);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the port is in use, or this process may not bind it.
    pub async fn listen_at(&self, port: u16) -> io::Result<Listening> {
        self.listen_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?)
    }

    fn listen_on(&self, listener: TcpListener) -> io::Result<Listening> {
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(self.clone(), listener)).abort_handle();
        Ok(Listening { address, task })
    }
}

impl Listening {
    /// Returns the address of the socket.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of `path` on this socket.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Serves connections until the task is aborted, which also ends the connections.
async fn accept(server: AuthorizationServer, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(server.clone(), stream))),
                // The peer gave up, or file descriptors ran out. Later connections may succeed.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(server: AuthorizationServer, stream: TcpStream) {
    let service = hyper::service::service_fn(move |request| respond(server.clone(), request));
    // The error is either injected by a fault or caused by the peer.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    server: AuthorizationServer,
    request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        let mut response = Response::new(whole(Bytes::new()));
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(response);
    };
    match server.serve(Request::from_parts(head, body.to_bytes())).await {
        Reply::Whole(response) => Ok(response.map(whole)),
        Reply::Truncated(mut response) => {
            let length = response.body().len();
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            Ok(response.map(half))
        }
        Reply::Close | Reply::Unreachable => Err(closed()),
    }
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Sends half of the body and then ends the connection.
fn half(mut body: Bytes) -> Body {
    body.truncate(body.len() / 2);
    let frames = futures_util::stream::unfold(Some(body), async |left| match left {
        Some(body) if !body.is_empty() => Some((Ok(Frame::data(body)), Some(Bytes::new()))),
        Some(_) => {
            // Lets the connection send the first half before it fails.
            tokio::task::yield_now().await;
            Some((Err(closed()), None))
        }
        None => None,
    });
    StreamBody::new(frames).boxed_unsync()
}

fn closed() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}
