//! DPoP-bound tokens of another authorization server, and proofs of another client (RFC 9449).

mod grpc;

use std::time::Duration;
use testing::host::PATIENCE;

use axum::{Extension, Router, routing};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command};
use tower_introspect::{ClientAuth, Issuer, ResourceServer, VerifiedToken, proof::Dpop};

use testing::{
    host,
    oidc_provider::{API, OidcProvider},
};

/// The directory of the authorization server and its clients.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/oidc-provider");

async fn whoami(Extension(token): Extension<VerifiedToken>) -> String {
    token.client_id().unwrap_or_default().into_owned()
}

/// A resource server that takes proofs for where it listens, and its URL.
async fn serve(server: &OidcProvider, change: impl FnOnce(Dpop) -> Dpop) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let dpop = change(dpop(&url));
    let api = ResourceServer::builder(API)
        .issuer(issuer(server))
        .dpop(dpop)
        .danger_allow_http_loopback()
        .build()
        .expect("valid");
    let app = Router::new()
        .route("/", routing::any(whoami))
        .route("/{*rest}", routing::any(whoami))
        .layer(api.layer());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Proofs use the clock of the client, so they are accepted for the longest window.
fn dpop(url: &str) -> Dpop {
    Dpop::new(url).expect("a URL").window(Duration::from_secs(300))
}

fn issuer(server: &OidcProvider) -> Issuer {
    Issuer::hybrid(server.issuer(), ClientAuth::basic("rs-basic", server.secret()))
        .configure_introspection(|remote| remote.timeout(PATIENCE))
}

/// Returns the client's record of its responses.
async fn run_client(server: &OidcProvider, api: &str, format: &str, alg: &str, h2: bool) -> Value {
    let asked =
        json!({"issuer": server.issuer(), "api": api, "format": format, "alg": alg, "h2": h2});
    let running = Command::new("node")
        .args(["dpop-client.mjs", &asked.to_string()])
        .current_dir(DIRECTORY)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, running).await;
    let output = output.expect("the client ends").expect("node starts");
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

async fn start() -> Option<OidcProvider> {
    let server = OidcProvider::start().await?;
    if !std::path::Path::new(DIRECTORY).join("node_modules/oauth4webapi").is_dir() {
        host::skip("`oauth4webapi` (npm ci)");
        return None;
    }
    Some(server)
}

/// Returns the expected record: how often the first request was sent, and that all attempts of a
/// thief are refused.
fn expected(first: u8) -> Value {
    let admitted = |asked: u8| json!({"status": 200, "asked": asked});
    json!({
        "token_type": "dpop",
        "answers": [admitted(first), admitted(1), admitted(1), admitted(1), admitted(1)],
        "replayed": "401 invalid_dpop_proof",
        "elsewhere": "401 invalid_dpop_proof",
        "as_bearer": "401 invalid_token",
        "bare": "401 invalid_dpop_proof",
        "stolen": "401 invalid_token",
    })
}

#[tokio::test]
async fn rfc9449_proofs_of_another_implementation_are_accepted() {
    let Some(server) = start().await else { return };
    let api = serve(&server, |dpop| dpop).await;
    for (format, alg) in [
        ("opaque", "ES256"),
        ("ES256", "ES256"),
        ("ES256", "Ed25519"),
        ("RS256", "PS256"),
        ("EdDSA", "RS256"),
    ] {
        assert_eq!(
            run_client(&server, &api, format, alg, false).await,
            expected(1),
            "{format} {alg}"
        );
    }
}

#[tokio::test]
async fn rfc9449_9_nonces_are_understood_by_another_implementation() {
    let Some(server) = start().await else { return };
    let api = serve(&server, Dpop::require_nonce).await;
    for format in ["opaque", "ES256"] {
        assert_eq!(
            run_client(&server, &api, format, "ES256", false).await,
            expected(2),
            "{format}"
        );
    }
}

#[tokio::test]
async fn rfc9449_proofs_of_another_implementation_are_accepted_over_http2() {
    let Some(server) = start().await else { return };
    let api = serve(&server, |dpop| dpop).await;
    assert_eq!(run_client(&server, &api, "ES256", "ES256", true).await, expected(1));
    let api = serve(&server, Dpop::require_nonce).await;
    assert_eq!(run_client(&server, &api, "opaque", "ES256", true).await, expected(2));
}
