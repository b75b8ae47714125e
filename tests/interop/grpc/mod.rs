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
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer,
    credentials::Token,
    revocation::Cutoff,
    test_util::{self, AuthorizationServer},
};

use testing::{host, proxy::until};

const AUDIENCE: &str = "https://greeter.example.com";

const OK: u8 = 0;
const CANCELLED: u8 = 1;
const PERMISSION_DENIED: u8 = 7;
const UNAUTHENTICATED: u8 = 16;

/// The service and a connected client.
struct World {
    authority: AuthorizationServer,
    api: ResourceServer,
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
        authority.register(test_util::Client::new("greeter", "s3cret"));
        let client = ClientAuth::basic("greeter", "s3cret");
        let api = ResourceServer::builder(AUDIENCE)
            .issuer(Issuer::hybrid(authority.issuer(), client))
            .clock(clock.clone())
            .transport(authority.transport())
            .build()
            .expect("invalid configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = listener.local_addr().expect("bound").to_string();
        let serving = service::serve(listener, api.clone(), std::future::pending());
        let serving = tokio::spawn(serving);
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
        Some(Self { authority, api, clock, serving, calls, outcomes, _client: client })
    }

    async fn call(&mut self, call: Value) -> Outcome {
        let line = self.exchange(&call).await;
        serde_json::from_str(&line).expect("an outcome")
    }

    /// Calls a method with a `pause`, during which the service sees it as a stream.
    async fn call_and(&mut self, call: Value, meanwhile: impl FnOnce(&Self) -> Value) -> Outcome {
        assert_eq!(self.exchange(&call).await, "\"paused\"", "{call}");
        until(async || self.api.leases().open() == 1, || format!("no stream: {call}")).await;
        let more = meanwhile(self);
        self.call(more).await
    }

    async fn exchange(&mut self, line: &Value) -> String {
        let exchange = async {
            self.calls.write_all(format!("{line}\n").as_bytes()).await.expect("the client reads");
            self.outcomes.next_line().await.expect("the client writes")
        };
        let line = tokio::time::timeout(PATIENCE, exchange).await.expect("in time");
        line.expect("the client goes on")
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
    /// Those of the trailing metadata.
    trailing: Vec<String>,
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
async fn grpcio_reads_a_stream_until_it_cancels() {
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

    let outcome = world.call(json!({ "method": watch })).await;
    outcome.says(&[]);
    outcome.is(UNAUTHENTICATED, Some(""));
}

/// The calls that stream, one of each kind.
fn streams() -> [Value; 3] {
    let greeting = json!({"greeting": "good morning", "team": "red"});
    [
        json!({"method": "greeter.Greeter/WatchGreeting", "pause": 1}),
        json!({"method": "greeter.Greeter/SetGreetings", "requests": [greeting], "pause": 0}),
        json!({"method": "greeter.Greeter/Chat", "requests": [{"name": "Bob"}], "pause": 1}),
    ]
}

/// The credentials of a user, and what ends them with the expected code and challenge.
type Ending = (String, Box<dyn Fn(&World)>, u8, &'static str);

#[tokio::test]
async fn grpcio_streams_end_with_the_status_and_the_challenge_in_trailing_metadata() {
    let Some(mut world) = World::start().await else { return };
    for stream in streams() {
        let user = stream["method"].as_str().expect("a method").to_owned();
        let claims = |token: test_util::TokenBuilder<test_util::Opaque>| {
            token.audience(AUDIENCE).claim("name", "Alice").claim("team", "red")
        };
        let opaque = || claims(world.authority.opaque()).scope("greet greet:write").mint();
        // Has the token verified again at once.
        let recheck = |world: &World, token: &str| {
            world.api.evict(&Token::bearer(token).expect("a token"));
        };
        let jwt = world.authority.jwt().subject(&user).audience(AUDIENCE);
        let jwt = jwt.scope("greet greet:write").claim("name", "Alice").claim("team", "red");
        let (narrowed, revoked) = (opaque(), opaque());
        let (jwt, expiring) = (jwt.mint(), opaque());
        let endings: [Ending; 4] = [
            (
                jwt,
                Box::new(move |world| {
                    let cutoff = Cutoff::subject(world.authority.issuer(), &user);
                    world.api.revocations().revoke(&cutoff);
                }),
                UNAUTHENTICATED,
                INVALID_TOKEN,
            ),
            (
                revoked.clone(),
                Box::new(move |world| {
                    world.authority.revoke(&revoked);
                    recheck(world, &revoked);
                }),
                UNAUTHENTICATED,
                INVALID_TOKEN,
            ),
            (
                narrowed.clone(),
                Box::new(move |world| {
                    world.authority.set_claim(&narrowed, "scope", "other");
                    recheck(world, &narrowed);
                }),
                PERMISSION_DENIED,
                ", error=\"insufficient_scope\"",
            ),
            (
                expiring.clone(),
                Box::new(move |world| {
                    world.clock.by(Duration::from_secs(24 * 3600));
                    recheck(world, &expiring);
                }),
                UNAUTHENTICATED,
                INVALID_TOKEN,
            ),
        ];
        for (token, end, code, challenge) in endings {
            let mut call = stream.clone();
            call["authorization"] = json!([format!("Bearer {token}")]);
            let outcome = world
                .call_and(call, |world| {
                    end(world);
                    json!([])
                })
                .await;
            assert_eq!(outcome.code, code, "{stream}: {outcome:?}");
            // The text of the service: grpcio did not derive the code from a status of HTTP.
            let text = match code {
                UNAUTHENTICATED => "invalid token",
                _ => "insufficient scope",
            };
            assert_eq!(outcome.details.as_deref(), Some(text), "{stream}: {outcome:?}");
            let expected = format!("Bearer realm=\"{AUDIENCE}\"{challenge}");
            let [told] = &outcome.trailing[..] else { panic!("{stream}: {outcome:?}") };
            assert!(told.starts_with(&expected), "{stream}: {outcome:?}");
            assert_eq!(outcome.challenges.len(), 1, "{stream}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn grpcio_renews_the_token_of_a_stream_by_a_message() {
    let Some(mut world) = World::start().await else { return };
    let token = |world: &World, user: &str, seconds| {
        let token = world.authority.jwt().subject(user).audience(AUDIENCE).scope("greet");
        token.expires_in(Duration::from_secs(seconds)).mint()
    };
    let (old, new) = (token(&world, "alice", 60), token(&world, "alice", 3600));
    let call = json!({
        "method": "greeter.Greeter/Chat",
        "authorization": [format!("Bearer {old}")],
        "requests": [{"token": token(&world, "mallory", 3600)}, {"token": new}],
        "pause": 2,
    });
    let outcome = world
        .call_and(call, |world| {
            // The old token has expired, and the stream goes on.
            world.clock.by(Duration::from_secs(600));
            world.api.leases().recheck(&Token::bearer(&new).expect("a token"));
            json!([{"name": "Bob"}, null])
        })
        .await;
    outcome.says(&["not with this token: denied", "go on", "hello, Bob"]);
    outcome.is(OK, None);
}
