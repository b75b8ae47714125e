//! Kept connections that the authorization server closes, or sends unsolicited responses over, with
//! real sockets.

#![cfg(feature = "reqwest")]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt as _, future::join_all, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Barrier,
};
use tower_introspect::{
    ClientAuth, ErrorKind, VerifyError,
    credentials::Token,
    introspection::IntrospectionVerifier,
    jwt::JwtVerifier,
    transport::{TransportError, TransportErrorKind},
    verify::{Outcome, Verifier as _, VerifyRequest},
};

use crate::{jwks::jwk, support::PATIENCE};

const ACTIVE: &str = r#"{"active":true,"sub":"alice"}"#;

/// The way in which a server closes a connection.
#[derive(Clone, Copy, Debug)]
enum Closing {
    /// It has read the whole request.
    End,
    /// A part of the request is unread, so the client receives a reset.
    Reset,
}

/// A server that responds to some requests of each connection, and closes the connection when the
/// next one arrives.
#[derive(Clone)]
struct ClosingServer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    /// Holds the responses back until this many requests have arrived.
    barrier: Arc<Barrier>,
}

impl ClosingServer {
    async fn start(responses: usize, closing: Closing) -> Self {
        Self::start_with(responses, closing, 1).await
    }

    async fn start_with(responses: usize, closing: Closing, at_once: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let barrier = Arc::new(Barrier::new(at_once));
        let server = Self { address, requests: Arc::default(), barrier };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                tokio::spawn(async move { server.serve(stream, responses, closing).await });
            }
        });
        server
    }

    /// Serves one connection. An error is a client that has gone away.
    async fn serve(self, mut stream: TcpStream, responses: usize, closing: Closing) -> Option<()> {
        for _ in 0..responses {
            let request = read_request(&mut stream).await?;
            self.requests.fetch_add(1, Ordering::SeqCst);
            self.barrier.wait().await;
            let body = self.body(&request);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
            let response = format!("{head}{}\r\n\r\n{body}", body.len());
            stream.write_all(response.as_bytes()).await.ok()?;
        }
        match closing {
            Closing::End => drop(read_request(&mut stream).await?),
            Closing::Reset => drop(stream.read_u8().await.ok()?),
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        Some(())
    }

    fn body(&self, request: &str) -> String {
        let issuer = self.issuer();
        match request.split(' ').nth(1).unwrap() {
            "/introspect" => ACTIVE.to_owned(),
            "/jwks" => format!(r#"{{"keys":[{}]}}"#, jwk("a")),
            "/.well-known/oauth-authorization-server" => {
                format!(r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}/jwks"}}"#)
            }
            path => panic!("{path}"),
        }
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of requests that arrived, those without a response included.
    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn verifier(&self) -> IntrospectionVerifier {
        IntrospectionVerifier::builder(self.issuer(), ClientAuth::mtls("api"))
            .endpoint(format!("{}/introspect", self.issuer()))
            .danger_allow_http_loopback()
            .timeout(PATIENCE)
            .build()
            .unwrap()
    }
}

/// Reads a request to the end of its body. Returns `None` if the client closes the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8(seen.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
                rest.split("\r\n").next().and_then(|length| length.parse().ok()).unwrap()
            });
            if body.len() >= length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
}

async fn ask(verifier: &IntrospectionVerifier) -> Outcome {
    verifier.verify(VerifyRequest::new(Token::bearer("abc").unwrap())).await
}

fn transport_error(error: &VerifyError) -> TransportErrorKind {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<TransportError>());
    cause.unwrap().kind()
}

#[tokio::test]
async fn of_ten_thousand_requests_none_is_lost_to_connections_that_are_closed() {
    for closing in [Closing::End, Closing::Reset] {
        let server = ClosingServer::start(4, closing).await;
        let verifier = server.verifier();
        let lost = stream::iter(0..5_000)
            .map(|_| ask(&verifier))
            .buffer_unordered(8)
            .filter(|outcome| std::future::ready(outcome.is_err()))
            .count()
            .await;
        assert_eq!(lost, 0, "{closing:?}");
        let sent_again = server.requests() - 5_000;
        assert!(sent_again >= 500, "{closing:?}: only {sent_again} connections were closed");
        assert!(sent_again <= 5_000, "{closing:?}: {sent_again} retries");
    }
}

#[tokio::test]
async fn all_kept_connections_may_be_closed_at_once() {
    let server = ClosingServer::start_with(1, Closing::End, 16).await;
    let verifier = server.verifier();
    for requests in [16, 16 + 2 * 16] {
        let outcomes = join_all((0..16).map(|_| ask(&verifier))).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(server.requests(), requests);
    }
}

#[tokio::test]
async fn key_set_is_fetched_although_the_connection_of_the_metadata_was_closed() {
    for closing in [Closing::End, Closing::Reset] {
        let server = ClosingServer::start(1, closing).await;
        let builder = JwtVerifier::builder(server.issuer()).danger_allow_http_loopback();
        builder.build().unwrap().warm().await.unwrap();
        // The metadata, the key set, and the key set once more.
        assert_eq!(server.requests(), 3, "{closing:?}");
    }
}

#[tokio::test]
async fn server_that_closes_new_connections_gets_two_requests() {
    for closing in [Closing::End, Closing::Reset] {
        let server = ClosingServer::start(0, closing).await;
        let error = ask(&server.verifier()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(transport_error(&error), TransportErrorKind::Closed, "{closing:?}");
        assert_eq!(server.requests(), 2, "{closing:?}");
    }
}

/// A proxy that sends each response twice. The second copy arrives when the next request does.
async fn start_stuttering_proxy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = async |mut stream: TcpStream| {
        let mut unsolicited = None;
        while let Some(request) = read_request(&mut stream).await {
            let token = request.split_once("token=")?.1.split('&').next()?;
            let body = format!(r#"{{"active":true,"sub":"{token}"}}"#);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
            let response = format!("{head}{}\r\n\r\n{body}", body.len());
            let sent = unsolicited.replace(response.clone()).unwrap_or(response);
            stream.write_all(sent.as_bytes()).await.ok()?;
        }
        Some(())
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    url
}

#[tokio::test]
async fn connection_of_its_own_keeps_an_unsolicited_response_from_the_next_request() {
    let url = start_stuttering_proxy().await;
    let builder = || {
        IntrospectionVerifier::builder(url.clone(), ClientAuth::mtls("api"))
            .endpoint(format!("{url}/introspect"))
            .danger_allow_http_loopback()
            .timeout(PATIENCE)
    };
    let subject = async |verifier: &IntrospectionVerifier, token: &str| {
        let request = VerifyRequest::new(Token::bearer(token).unwrap());
        verifier.verify(request).await.unwrap().claims().subject().unwrap().to_owned()
    };
    let own = builder().connection_per_request().build().unwrap();
    for token in ["alice", "bob", "carol"] {
        assert_eq!(subject(&own, token).await, token);
    }
    // What the setting is for.
    let kept = builder().build().unwrap();
    assert_eq!(subject(&kept, "alice").await, "alice");
    assert_eq!(subject(&kept, "bob").await, "alice");
}
