//! DPoP over gRPC with other implementations: `@grpc/grpc-js` sends the calls, `dpop` makes the
//! proofs, and `oauth4webapi` requests the token.

use std::{process::Stdio, time::Duration};
use testing::host::PATIENCE;

use axum::http::Extensions;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
use tower_introspect::{ResourceServer, VerifiedToken, proof::Dpop};

use crate::{
    clock::Ahead,
    grpc::greeter::{
        ChatRequest, Greeter, GreeterServer, GreetingReply, GreetingRequest, GreetingsReply,
        HelloReply, HelloRequest, Later, Replies, Reply, VersionReply, VersionRequest,
        WatchRequest,
    },
};
use testing::{
    host,
    oidc_provider::{API, OidcProvider},
};

/// The origin of the service in the view of its clients.
const ORIGIN: &str = "https://greeter.example.com";

/// Responds with the subject of the token.
struct Whoami;

fn whoami(extensions: &Extensions) -> HelloReply {
    let token = extensions.get::<VerifiedToken>();
    let client = token.and_then(VerifiedToken::client_id);
    HelloReply { message: client.unwrap_or_default().into_owned() }
}

impl Greeter for Whoami {
    fn say_hello(&self, request: Request<HelloRequest>) -> Reply<HelloReply> {
        Ok(Response::new(whoami(request.extensions())))
    }

    fn watch_greeting(&self, request: Request<WatchRequest>) -> Reply<Replies<HelloReply>> {
        let reply = whoami(request.extensions());
        Ok(Response::new(Box::pin(stream::iter([Ok(reply.clone()), Ok(reply)]))))
    }

    fn set_greeting(&self, _: Request<GreetingRequest>) -> Reply<GreetingReply> {
        Err(Status::unimplemented("nobody calls it"))
    }

    fn set_greetings(&self, _: Request<Streaming<GreetingRequest>>) -> Later<GreetingsReply> {
        Box::pin(async { Err(Status::unimplemented("nobody calls it")) })
    }

    fn chat(&self, _: Request<Streaming<ChatRequest>>) -> Reply<Replies<HelloReply>> {
        Err(Status::unimplemented("nobody calls it"))
    }

    fn version(&self, _: Request<VersionRequest>) -> Reply<VersionReply> {
        Err(Status::unavailable("try again"))
    }
}

/// A client with a token for a service that only this test uses.
struct World {
    commands: ChildStdin,
    outcomes: Lines<BufReader<ChildStdout>>,
    _client: Child,
}

impl World {
    /// Starts a service with this clock, and its client.
    async fn new(
        server: &OidcProvider,
        format: &str,
        alg: &str,
        clock: &Ahead,
        change: impl FnOnce(Dpop) -> Dpop,
    ) -> Self {
        let api = ResourceServer::builder(API)
            .issuer(super::issuer(server))
            .dpop(change(super::dpop(ORIGIN)))
            .clock(clock.clone())
            .danger_allow_http_loopback()
            .build()
            .expect("valid");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = listener.local_addr().expect("bound").to_string();
        let serving = tonic::transport::Server::builder()
            .layer(api.layer())
            .add_service(GreeterServer::new(Whoami))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);

        let asked = json!({
            "issuer": server.issuer(),
            "target": target,
            "origin": ORIGIN,
            "proto": concat!(env!("CARGO_MANIFEST_DIR"), "/examples/grpc/greeter.proto"),
            "format": format,
            "alg": alg,
        });
        let mut client = Command::new("node")
            .args(["dpop-grpc-client.mjs", &asked.to_string()])
            .current_dir(super::DIRECTORY)
            // It ends with its standard input, however the test ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let commands = client.stdin.take().expect("stdin is piped");
        let outcomes = BufReader::new(client.stdout.take().expect("stdout is piped")).lines();
        Self { commands, outcomes, _client: client }
    }

    async fn client(&mut self, command: &str) -> Value {
        let exchange = async {
            let line = format!("{command}\n");
            self.commands.write_all(line.as_bytes()).await.expect("the client reads");
            self.outcomes.next_line().await.expect("the client writes")
        };
        let line = tokio::time::timeout(PATIENCE, exchange).await.expect("in time");
        serde_json::from_str(&line.expect("the client goes on")).expect("an outcome")
    }
}

async fn start() -> Option<OidcProvider> {
    let server = super::start().await?;
    for package in ["@grpc/grpc-js", "@grpc/proto-loader", "dpop"] {
        if !std::path::Path::new(super::DIRECTORY).join("node_modules").join(package).is_dir() {
            host::skip("a gRPC client (npm ci)");
            return None;
        }
    }
    Some(server)
}

/// The record of a call that is admitted at the `asked`th attempt.
fn admitted(asked: u8, renewed: bool) -> Value {
    json!({"code": 0, "replies": ["svc"], "asked": asked, "renewed": renewed})
}

/// Returns the expected record of valid calls, the first of which is sent this often.
fn calls(first: u8) -> Value {
    let stream = json!({"code": 0, "replies": ["svc", "svc"], "asked": 1, "renewed": false});
    json!({
        "token_type": "dpop",
        "answers": [admitted(first, false), stream, admitted(1, false)],
    })
}

/// Returns the expected record of a thief's attempts, which are all refused: the code, the error of
/// the challenge and the number of replies.
fn misuse() -> Value {
    json!({
        "good": "0 undefined 1",
        "replayed": "16 invalid_dpop_proof 0",
        "bare": "16 invalid_dpop_proof 0",
        "other_method": "16 invalid_dpop_proof 0",
        "stream": "16 invalid_dpop_proof 0",
        "inside": "16 invalid_dpop_proof 0",
        "get": "16 invalid_dpop_proof 0",
        "stolen": "16 invalid_token 0",
        "as_bearer": "16 invalid_token 0",
        "bare_bearer": "16 invalid_token 0",
    })
}

#[tokio::test]
async fn rfc9449_grpc_calls_with_proofs_of_another_implementation_are_admitted() {
    let Some(server) = start().await else { return };
    for (format, alg) in [("ES256", "ES256"), ("EdDSA", "Ed25519"), ("opaque", "ES256")] {
        let mut world = World::new(&server, format, alg, &Ahead::default(), |dpop| dpop).await;
        assert_eq!(world.client("calls").await, calls(1), "{format} {alg}");
        assert_eq!(world.client("misuse").await, misuse(), "{format} {alg}");
    }
}

#[tokio::test]
async fn rfc9449_9_grpc_clients_get_nonces_in_metadata() {
    let Some(server) = start().await else { return };
    for format in ["ES256", "opaque"] {
        let clock = Ahead::stopped();
        let mut world = World::new(&server, format, "ES256", &clock, Dpop::require_nonce).await;
        assert_eq!(world.client("calls").await, calls(2), "{format}");
        assert_eq!(world.client("misuse").await, misuse(), "{format}");

        // RFC 9449 §8.2: the reply has the next nonce before the present one expires.
        clock.by(Duration::from_secs(60));
        assert_eq!(world.client("hello").await, admitted(1, true), "{format}");
        assert_eq!(world.client("hello").await, admitted(1, false), "{format}");
        // An expired nonce is refused.
        clock.by(Duration::from_secs(180));
        assert_eq!(world.client("hello").await, admitted(2, false), "{format}");
    }
}

/// A channel with `retryPolicy` repeats the call with the same proof, which is then used.
#[tokio::test]
async fn rfc9449_11_1_call_repeated_by_a_grpc_channel_is_a_replay() {
    let Some(server) = start().await else { return };
    let mut world = World::new(&server, "ES256", "ES256", &Ahead::default(), |dpop| dpop).await;
    let refused = json!({
        "code": 16, "error": "invalid_dpop_proof", "replies": [], "asked": 1, "renewed": false,
    });
    assert_eq!(world.client("retry").await, refused);
}
