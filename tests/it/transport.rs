//! The transport, with a real socket.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;
use tower_introspect::transport::{
    BodyLimit, ReqwestTransport, TransportError, TransportErrorKind,
};

/// A server that sends one fixed response and closes the connection.
struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Some(Arc::from(answer.into()));
        Self::start(answer).await
    }

    /// Reads requests and does not respond.
    async fn hanging() -> Self {
        Self::start(None).await
    }

    async fn start(answer: Option<Arc<[u8]>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, seen) = (answer.clone(), Arc::clone(&seen));
                tokio::spawn(serve(stream, answer, seen));
            }
        });
        Self { address, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, answer: Option<Arc<[u8]>>, seen: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    seen.fetch_add(1, Ordering::SeqCst);
    let Some(answer) = answer else { return std::future::pending().await };
    // The client may disconnect in the middle of an oversized response.
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
    // Reading until the client closes avoids a reset that could overtake the response.
    while matches!(stream.read(&mut [0; 256]).await, Ok(1..)) {}
}

async fn get(url: String, limit: usize) -> Result<Response<Bytes>, TransportError> {
    send(ReqwestTransport::new().unwrap(), url, limit).await
}

async fn send(
    transport: ReqwestTransport,
    url: String,
    limit: usize,
) -> Result<Response<Bytes>, TransportError> {
    let mut request = Request::get(url).body(Bytes::new()).unwrap();
    request.extensions_mut().insert(BodyLimit::new(limit));
    transport.oneshot(request).await
}

fn with_length(length: usize, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn kind(outcome: Result<Response<Bytes>, TransportError>) -> TransportErrorKind {
    outcome.unwrap_err().kind()
}

#[tokio::test]
async fn complete_response_is_returned() {
    let server = Server::answering(
        "HTTP/1.1 203 Fine\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    )
    .await;
    let answer = get(server.url("/"), 5).await.unwrap();
    assert_eq!(answer.status(), 203);
    assert_eq!(answer.headers()["x-a"], "b");
    assert_eq!(answer.body(), "abcde");
}

#[tokio::test]
async fn the_body_and_headers_of_a_request_are_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/introspect?a=b", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"token=abc") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
        stream.write_all(with_length(2, "{}").as_bytes()).await.unwrap();
        String::from_utf8(seen).unwrap()
    });
    let request = Request::post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from_static(b"token=abc"))
        .unwrap();
    let answer = ReqwestTransport::new().unwrap().oneshot(request).await.unwrap();
    assert_eq!(answer.body(), "{}");
    let seen = server.await.unwrap();
    assert!(seen.starts_with("POST /introspect?a=b HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("content-type: application/x-www-form-urlencoded\r\n"), "{seen}");
    assert!(seen.contains("user-agent: tower-introspect/"), "{seen}");
    assert!(!seen.contains("accept-encoding"), "{seen}");
}

#[tokio::test]
async fn i17_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Server::answering(with_length(2, "{}")).await;
        let answer = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            elsewhere.url("/")
        );
        let server = Server::answering(answer).await;
        let answer = get(server.url("/"), 100).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!((server.requests(), elsewhere.requests()), (1, 0));
    }
}

#[tokio::test]
async fn i17_builder_cannot_enable_redirects() {
    let server = Server::answering(
        "HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let builder = || ReqwestTransport::builder().redirect(reqwest::redirect::Policy::limited(5));
    let transport = ReqwestTransport::from_builder(builder).unwrap();
    assert_eq!(send(transport, server.url("/"), 100).await.unwrap().status(), 307);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn i18_body_of_exactly_the_limit_is_accepted() {
    let server = Server::answering(with_length(5, "abcde")).await;
    assert_eq!(get(server.url("/"), 5).await.unwrap().body(), "abcde");
}

#[tokio::test]
async fn i18_a_body_announced_longer_than_the_limit_is_refused_unread() {
    // The body never arrives, so that waiting for it would cause another kind of error.
    let server = Server::answering(with_length(6, "")).await;
    assert_eq!(kind(get(server.url("/"), 5).await), TransportErrorKind::TooLarge);
}

#[tokio::test]
async fn i18_body_of_unknown_length_is_refused_at_the_limit() {
    let endless = |pieces: usize| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        format!("{head}{}", "8\r\nabcdefgh\r\n".repeat(pieces))
    };
    // Neither response ends properly, so only the limit can be the reason.
    for pieces in [2, 100_000] {
        let server = Server::answering(endless(pieces)).await;
        assert_eq!(kind(get(server.url("/"), 15).await), TransportErrorKind::TooLarge);
    }
    let until_close = format!("HTTP/1.0 200 OK\r\n\r\n{}", "a".repeat(16));
    let server = Server::answering(until_close).await;
    assert_eq!(kind(get(server.url("/"), 15).await), TransportErrorKind::TooLarge);
}

#[tokio::test]
async fn i18_request_without_a_limit_has_a_default_limit() {
    let server = Server::answering(with_length(1024 * 1024 + 1, "")).await;
    let request = Request::get(server.url("/")).body(Bytes::new()).unwrap();
    let outcome = ReqwestTransport::new().unwrap().oneshot(request).await;
    assert_eq!(kind(outcome), TransportErrorKind::TooLarge);
}

#[tokio::test]
async fn i18_a_truncated_body_is_an_error() {
    let server = Server::answering(with_length(10, "{\"ac")).await;
    assert_eq!(kind(get(server.url("/"), 100).await), TransportErrorKind::Other);

    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{\"ac\r\n";
    let server = Server::answering(chunked).await;
    assert_eq!(kind(get(server.url("/"), 100).await), TransportErrorKind::Other);
}

#[tokio::test]
async fn response_that_is_not_http_is_an_error() {
    let server = Server::answering("* OK IMAP4rev1\r\n\r\n").await;
    assert_eq!(kind(get(server.url("/"), 100).await), TransportErrorKind::Other);
}

#[tokio::test]
async fn refused_connection_has_its_own_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = get(format!("http://{address}/"), 100).await;
    assert_eq!(kind(outcome), TransportErrorKind::Connect);
}

#[tokio::test]
async fn connection_closed_before_a_response_has_its_own_error() {
    for answer in ["", "HTTP/1.1 20"] {
        let server = Server::answering(answer).await;
        assert_eq!(kind(get(server.url("/"), 100).await), TransportErrorKind::Closed, "{answer}");
        // This transport retries nothing by itself.
        assert_eq!(server.requests(), 1);
    }
}

/// Answers the first request of an HTTP/2 connection with this frame, and counts requests.
async fn http2_kind(frame: &'static [u8]) -> (TransportErrorKind, usize) {
    const HEADERS: u8 = 1;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.read_exact(&mut [0; "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()]).await.unwrap();
            // Empty settings.
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            loop {
                let mut head = [0; 9];
                if stream.read_exact(&mut head).await.is_err() {
                    break;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                stream.read_exact(&mut payload).await.unwrap();
                if head[3] == HEADERS {
                    seen.fetch_add(1, Ordering::SeqCst);
                    stream.write_all(frame).await.unwrap();
                }
            }
        }
    });
    let builder = || ReqwestTransport::builder().http2_prior_knowledge();
    let transport = ReqwestTransport::from_builder(builder).unwrap();
    let kind = kind(send(transport, url, 100).await);
    (kind, requests.load(Ordering::SeqCst))
}

#[tokio::test]
async fn rfc9113_8_7_http2_server_that_goes_away_or_refuses_a_stream_has_closed_the_connection() {
    // GOAWAY without an error, of no stream; RST_STREAM with REFUSED_STREAM of stream 1.
    for frame in [
        &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7],
    ] {
        assert_eq!(http2_kind(frame).await, (TransportErrorKind::Closed, 1), "{frame:?}");
    }
    // The same with ENHANCE_YOUR_CALM.
    for frame in [
        &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11][..],
        &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 11],
    ] {
        assert_eq!(http2_kind(frame).await, (TransportErrorKind::Other, 1), "{frame:?}");
    }
}

#[tokio::test]
async fn hanging_server_is_a_timeout() {
    let server = Server::hanging().await;
    let builder = || ReqwestTransport::builder().timeout(Duration::from_millis(50));
    let transport = ReqwestTransport::from_builder(builder).unwrap();
    let outcome = send(transport, server.url("/"), 100).await;
    assert_eq!(kind(outcome), TransportErrorKind::Timeout);
}

#[tokio::test]
async fn o3_errors_do_not_show_the_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = get(format!("http://{address}/path-x?token=query-x"), 100).await.unwrap_err();
    let mut shown = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        shown.push_str(&format!("{error} {error:?}"));
        cause = error.source();
    }
    assert!(!shown.contains("path-x") && !shown.contains("query-x"), "{shown}");
}
