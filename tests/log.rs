//! What is logged, and what never is. A process of its own, because the subscriber is the whole
//! process's: one that comes and goes with a test may be missed by the others.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, OnceLock},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{
    ClientAuth, ErrorKind, IntrospectLayer, Issuer, Policy, ResourceServer,
    test_util::{AuthorizationServer, Client, Endpoint, Fault},
    verify::{Verifier, verify_fn},
};
use tracing_subscriber::fmt::MakeWriter;

const AUDIENCE: &str = "https://api.example.com";
const ISSUER: &str = "https://as.example.com";

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// All that is logged, at the finest level.
fn listen() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    let start = || {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("there is no other");
        log
    };
    LOG.get_or_init(start).clone()
}

/// What the layer answers to a request with this token.
async fn present<V>(layer: &IntrospectLayer<V>, token: &str)
where
    V: Verifier,
{
    let handler =
        service_fn(async |_: Request<Bytes>| Ok::<_, Infallible>(Response::new(Bytes::new())));
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    let Ok(_) = layer.layer(handler).oneshot(request.body(Bytes::new()).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn rfc6750_5_2_no_token_no_secret_and_no_claim_is_ever_logged() {
    let log = listen();
    let server = AuthorizationServer::new(ISSUER).with_client(Client::new("api", "s3cret-of-ours"));
    let api = ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::hybrid(ISSUER, ClientAuth::basic("api", "s3cret-of-ours")))
        .transport(server.transport())
        .build()
        .unwrap();
    let opaque = || server.opaque().subject("al1ce-the-subject").audience(AUDIENCE);
    let jwt = || server.jwt().subject("al1ce-the-subject").audience(AUDIENCE);
    let tokens = [
        opaque().text("0paque-token-text").mint(),
        opaque().text("0paque-for-another").audience("https://other.example.com").mint(),
        jwt().mint(),
        jwt().without("exp").mint(),
        jwt().kid("k1d-of-a-client").mint(),
        jwt().claim("iss", "https://3vil.example.com").mint(),
        jwt().with_corrupt_signature().mint(),
        jwt().raw_claims("{\"al1ce-the-subject\":").mint(),
    ];
    let faults = [
        None,
        Some(Fault::html()),
        Some(Fault::status(StatusCode::UNAUTHORIZED)),
        Some(Fault::close()),
    ];
    for fault in faults {
        if let Some(fault) = fault {
            server.inject(Endpoint::Introspection, fault.clone());
            server.inject(Endpoint::Jwks, fault);
        }
        for token in &tokens {
            present(&api.layer(), token).await;
        }
    }
    let text = log.text();
    assert!(text.contains("request refused"), "{text}");
    for token in &tokens {
        assert!(!text.contains(token.as_str()), "a token is in the log");
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!text.contains(part), "a part of a token is in the log: {part}");
        }
    }
    for secret in ["s3cret-of-ours", "al1ce-the-subject", "k1d-of-a-client", "3vil"] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
}

#[tokio::test]
async fn the_level_follows_the_blame() {
    for (kind, level) in [
        (ErrorKind::Expired, "DEBUG"),
        (ErrorKind::Unavailable, " WARN"),
        (ErrorKind::CredentialsRejected, "ERROR"),
    ] {
        let log = listen();
        let verifier = verify_fn(move |_| std::future::ready(Err(kind.into())));
        present(&IntrospectLayer::new(verifier, Policy::new(AUDIENCE)), "abc").await;
        let text = log.text();
        let said = |line: &str| line.contains(level) && line.contains(kind.reason());
        assert!(text.lines().any(said), "{text}");
    }
}
