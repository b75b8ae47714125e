//! The service of the example `grpc`, called with grpcio, which reads the `.proto` itself.

// The code that users copy from the example is tested.
#[path = "../../../examples/grpc/greeter.rs"]
#[expect(dead_code, reason = "the client of the example")]
pub(crate) mod greeter;
#[path = "../../../examples/grpc/service.rs"]
mod service;

use crate::clock::Ahead;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use testing::host::PATIENCE;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    task::AbortHandle,
};
use tower_introspect::{Issuer, ResourceServer, clock::Clock as _, test_util::AuthorizationServer};

use testing::host;

const AUDIENCE: &str = "https://greeter.example.com";

const OK: u8 = 0;
const CANCELLED: u8 = 1;
const PERMISSION_DENIED: u8 = 7;
const UNAUTHENTICATED: u8 = 16;

/// The service and a connected client.
struct World {
    authority: AuthorizationServer,
    clock: Ahead,
    serving: AbortHandle,
    calls: ChildStdin,
    outcomes: Lines<BufReader<ChildStdout>>,
    _client: Child,
}

impl World {
    /// Returns `None` without the client.
    async fn start() -> Option<Self> {
        let python = directory().join(".venv/bin/python");
        if !python.is_file() {
            host::skip("`grpcio` (tests/interop/grpc/.venv)");
            return None;
        }
        let clock = Ahead::stopped();
        let authority =
            AuthorizationServer::new("https://as.example.com").with_clock(clock.clone());
        let api = ResourceServer::builder(AUDIENCE)
            .issuer(Issuer::jwt(authority.issuer()))
            .clock(clock.clone())
            .transport(authority.transport())
            .build()
            .expect("invalid configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = listener.local_addr().expect("bound").to_string();
        let serving = tokio::spawn(service::serve(listener, api, std::future::pending()));
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/grpc");
        let mut client = Command::new(python)
            .arg("client.py")
            .args([example.as_os_str(), target.as_ref()])
            .current_dir(directory())
            // It ends with its standard input, however the test ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python starts");
        let calls = client.stdin.take().expect("stdin is piped");
        let outcomes = BufReader::new(client.stdout.take().expect("stdout is piped")).lines();
        let serving = serving.abort_handle();
        Some(Self { authority, clock, serving, calls, outcomes, _client: client })
    }

    async fn call(&mut self, call: Value) -> Outcome {
        let exchange = async {
            self.calls.write_all(format!("{call}\n").as_bytes()).await.expect("the client reads");
            self.outcomes.next_line().await.expect("the client writes")
        };
        let line = tokio::time::timeout(PATIENCE, exchange).await.expect("in time");
        serde_json::from_str(&line.expect("the client goes on")).expect("an outcome")
    }

    /// Returns credentials with a token of a member of the red team.
    fn bearer(&self, scope: &str) -> String {
        let token = self.authority.jwt().audience(AUDIENCE).scope(scope);
        format!("Bearer {}", token.claim("name", "Alice").claim("team", "red").mint())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The outcome of a call in grpcio.
#[derive(Debug, Deserialize)]
struct Outcome {
    code: u8,
    details: Option<String>,
    replies: Vec<Value>,
    challenges: Vec<String>,
}

impl Outcome {
    #[track_caller]
    fn is(&self, code: u8, challenge: Option<&str>) {
        assert_eq!(self.code, code, "{self:?}");
        let challenge = challenge.map(|rest| format!("Bearer realm=\"{AUDIENCE}\"{rest}"));
        assert_eq!(self.challenges, Vec::from_iter(challenge), "{self:?}");
    }

    #[track_caller]
    fn says(&self, messages: &[&str]) {
        let expected: Vec<_> = messages.iter().map(|text| json!({"message": text})).collect();
        assert_eq!(self.replies, expected, "{self:?}");
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/grpc")
}

const INVALID_TOKEN: &str = ", error=\"invalid_token\"";
const INVALID_REQUEST: &str = ", error=\"invalid_request\"";

#[tokio::test]
async fn grpcio_gets_status_and_challenge() {
    let Some(mut world) = World::start().await else { return };
    let hello = "greeter.Greeter/SayHello";
    let good = world.bearer("greet");

    let outcome = world.call(json!({"method": hello, "authorization": [good]})).await;
    outcome.is(OK, None);
    outcome.says(&["hello, Alice"]);

    let token = world.authority.jwt().scope("greet");
    let foreign = format!("Bearer {}", token.audience("https://other.example.com").mint());
    for (authorization, challenge) in [
        (json!([]), ""),
        (json!(["Bearer nonsense"]), INVALID_TOKEN),
        (json!([foreign]), INVALID_TOKEN),
        (json!(["Bearer"]), INVALID_REQUEST),
        (json!([format!("{good}\"")]), INVALID_REQUEST),
        (json!(["Basic YTpi"]), ""),
        // One of several tokens is valid, but none is chosen.
        (json!([good, "Bearer nonsense"]), INVALID_REQUEST),
        (json!(["Bearer nonsense", good]), INVALID_REQUEST),
        (json!([good, good]), INVALID_REQUEST),
    ] {
        let call = json!({"method": hello, "authorization": authorization});
        let outcome = world.call(call).await;
        outcome.is(UNAUTHENTICATED, Some(challenge));
        outcome.says(&[]);
    }
    let binary = json!([["authorization-bin", good]]);
    let outcome = world.call(json!({"method": hello, "binary": binary})).await;
    outcome.is(UNAUTHENTICATED, Some(""));
}

#[tokio::test]
async fn grpcio_gets_the_missing_scope_by_method_and_message() {
    let Some(mut world) = World::start().await else { return };
    let set = |authorization: &str, team: &str| {
        let request = json!({"greeting": "good morning", "team": team});
        let method = "greeter.Greeter/SetGreeting";
        json!({"method": method, "authorization": [authorization], "request": request})
    };
    let lacks = |scope: &str| format!(", error=\"insufficient_scope\", scope=\"{scope}\"");

    let outcome = world.call(set(&world.bearer("greet"), "red")).await;
    outcome.is(PERMISSION_DENIED, Some(&lacks("greet:write")));
    let outcome = world.call(set(&world.bearer("greet:write"), "blue")).await;
    outcome.is(PERMISSION_DENIED, Some(&lacks("greet:write greet:admin")));
    for (scope, team) in [("greet:write", "red"), ("greet:write greet:admin", "blue")] {
        world.call(set(&world.bearer(scope), team)).await.is(OK, None);
    }
    // The message cannot replace the scope that the method requires.
    let outcome = world.call(set(&world.bearer("greet:admin"), "red")).await;
    outcome.is(PERMISSION_DENIED, Some(&lacks("greet:write")));

    // No challenge for missing claims and unknown methods.
    let nameless = world.authority.jwt().audience(AUDIENCE).scope("greet").mint();
    for (method, authorization) in [
        ("greeter.Greeter/SayHello", format!("Bearer {nameless}")),
        ("greeter.Greeter/Forget", world.bearer("greet")),
        ("grpc.health.v1.Health/Watch", world.bearer("greet")),
    ] {
        let outcome = world.call(json!({"method": method, "authorization": [authorization]})).await;
        outcome.is(PERMISSION_DENIED, None);
    }
    // Without a token, unknown methods get the same response.
    for method in ["greeter.Greeter/Forget", "grpc.health.v1.Health/Watch"] {
        world.call(json!({ "method": method })).await.is(UNAUTHENTICATED, Some(""));
    }
}

#[tokio::test]
async fn grpcio_checks_health_without_a_token() {
    let Some(mut world) = World::start().await else { return };
    for service in ["", "greeter.Greeter"] {
        let request = json!({"service": service});
        let call = json!({"method": "grpc.health.v1.Health/Check", "request": request});
        let outcome = world.call(call).await;
        outcome.is(OK, None);
        assert_eq!(outcome.replies, [json!({"status": "SERVING"})]);
    }
    let outcome = world.call(json!({"method": "greeter.Greeter/Version"})).await;
    outcome.is(OK, None);
    assert_eq!(outcome.replies, [json!({"version": env!("CARGO_PKG_VERSION")})]);
}

#[tokio::test]
async fn grpcio_reads_a_stream_until_it_cancels_or_the_token_expires() {
    let Some(mut world) = World::start().await else { return };
    let watch = "greeter.Greeter/WatchGreeting";
    let greeting = json!({
        "method": "greeter.Greeter/SetGreeting",
        "authorization": [world.bearer("greet:write")],
        "request": {"greeting": "good morning", "team": "red"},
    });
    let call = json!({"method": watch, "authorization": [world.bearer("greet")], "then": greeting});
    let outcome = world.call(call).await;
    outcome.says(&["hello, Alice", "good morning, Alice"]);
    outcome.is(CANCELLED, None);

    // Expired but within the leeway: the stream is admitted and gets what is available.
    let past = world.clock.now().saturating_sub(Duration::from_secs(5));
    let token = world.authority.jwt().audience(AUDIENCE).scope("greet").expires_at(past);
    let token = token.claim("name", "Alice").claim("team", "red").mint();
    let call = json!({"method": watch, "authorization": [format!("Bearer {token}")]});
    let outcome = world.call(call).await;
    outcome.says(&["good morning, Alice"]);
    outcome.is(UNAUTHENTICATED, None);
    assert_eq!(outcome.details.as_deref(), Some("the token has expired"));

    let outcome = world.call(json!({ "method": watch })).await;
    outcome.says(&[]);
    outcome.is(UNAUTHENTICATED, Some(""));
}
