//! Clients of the Model Context Protocol with the MCP server of the examples. They get its URL and
//! their own credentials, and discover the rest.

// The code that users copy is tested.
#[path = "../../../examples/mcp_server/main.rs"]
#[expect(dead_code, reason = "a program has more than its service")]
mod mcp_server;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};
use testing::host::PATIENCE;

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::TcpListener,
    process::Command,
    task::AbortHandle,
};
use tower_introspect::{ResourceServer, revocation::Cutoff};

use testing::{host, oidc_provider::OidcProvider};

/// The MCP server, and the authorization server that its clients discover.
struct World {
    url: String,
    api: ResourceServer,
    authority: OidcProvider,
    serving: AbortHandle,
}

impl World {
    async fn start() -> Option<Self> {
        let authority = OidcProvider::start().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("bound"));
        let url = format!("{origin}/mcp");
        let api = mcp_server::resource_server(&url, authority.issuer(), true);
        let api = api.expect("invalid configuration");
        let app = mcp_server::app(&api, &url).expect("invalid configuration");
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        Some(Self { url, api, authority, serving: serving.abort_handle() })
    }

    /// Runs a client that calls these tools.
    async fn run(&self, client: Command, name: &str, tools: &[&str]) -> Vec<Line> {
        self.run_until(client, name, tools, |_| {}).await
    }

    /// Does the same, and calls a function for each line at once.
    async fn run_until(
        &self,
        mut client: Command,
        name: &str,
        tools: &[&str],
        seen: impl Fn(&Line),
    ) -> Vec<Line> {
        client.arg(&self.url).arg(self.authority.issuer()).arg(name).args(tools);
        // Clients that end by themselves do so within two minutes.
        client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = client.kill_on_drop(true).spawn().expect("it starts");
        let (out, mut err) = (client.stdout.take(), client.stderr.take());
        let mut out = BufReader::new(out.expect("stdout is piped")).lines();
        let (mut lines, mut complaints) = (Vec::new(), String::new());
        let reading = async {
            while let Some(line) = out.next_line().await.expect("text") {
                let line = serde_json::from_str(&line).expect(&line);
                seen(&line);
                lines.push(line);
            }
        };
        let complaining = async {
            let err = err.as_mut().expect("stderr is piped");
            err.read_to_string(&mut complaints).await.expect("text");
        };
        let ending = async {
            tokio::join!(reading, complaining);
            client.wait().await.expect("it ends")
        };
        let status = tokio::time::timeout(2 * PATIENCE, ending).await.expect("it ends");
        assert!(status.success(), "{status:?}\n{lines:?}\n{complaints}");
        lines
    }

    /// Returns the URL of the metadata in the challenges.
    fn metadata(&self) -> String {
        self.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    }

    fn challenge(&self, told: &str) -> String {
        let (url, metadata) = (&self.url, self.metadata());
        format!("Bearer realm=\"{url}\", {told}, resource_metadata=\"{metadata}\"")
    }

    fn is_ours(&self, exchange: &Exchange) -> bool {
        exchange.url == self.url
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A line that a client prints.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Called { tool: String, text: Option<String>, error: Option<String> },
    Sent(Exchange),
}

#[derive(Debug, Deserialize)]
struct Exchange {
    method: String,
    url: String,
    status: u16,
    challenge: Option<String>,
    form: Option<Form>,
}

#[derive(Debug, Deserialize)]
struct Form {
    scope: Option<String>,
    resource: Option<String>,
}

/// The client of the TypeScript SDK, if it is installed.
fn typescript() -> Option<Command> {
    if !host::has("node") || !directory().join("node_modules/@modelcontextprotocol/sdk").is_dir() {
        host::skip("`@modelcontextprotocol/sdk` (npm ci in tests/interop/mcp)");
        return None;
    }
    let mut command = Command::new("node");
    command.arg(directory().join("client.mjs")).current_dir(directory());
    Some(command)
}

/// The client of the Python SDK, if it is installed.
fn python() -> Option<Command> {
    let program = directory().join(".venv/bin/python");
    if !program.is_file() {
        host::skip("`mcp` (tests/interop/mcp/.venv)");
        return None;
    }
    let mut command = Command::new(program);
    command.arg(directory().join("client.py")).current_dir(directory());
    Some(command)
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/mcp")
}

fn sent(lines: &[Line]) -> Vec<&Exchange> {
    let exchanges = lines.iter().filter_map(|line| match line {
        Line::Sent(exchange) => Some(exchange),
        Line::Called { .. } => None,
    });
    exchanges.collect()
}

/// Returns the result of each tool, or `None` if the client gave up.
fn called(lines: &[Line]) -> Vec<(&str, Option<&str>)> {
    let outcomes = lines.iter().filter_map(|line| match line {
        Line::Called { tool, text, error } => {
            assert_ne!(text.is_some(), error.is_some());
            Some((tool.as_str(), text.as_deref()))
        }
        Line::Sent(_) => None,
    });
    outcomes.collect()
}

/// The client follows the challenge to the tool, and steps up for one that needs more scope.
async fn expect_discovery_and_step_up(client: Command) {
    let Some(world) = World::start().await else { return };
    let lines = world.run(client, "svc", &["add", "reset"]).await;
    let [("add", Some("5")), ("reset", Some(reset))] = called(&lines)[..] else {
        panic!("{lines:#?}")
    };
    assert!(reset.starts_with("1 additions"), "{reset}");

    let sent = sent(&lines);
    // It sends no token, and gets a challenge with the metadata and the scope.
    let [first, second, ..] = sent[..] else { panic!("{sent:#?}") };
    assert!(world.is_ours(first) && first.method == "POST" && first.status == 401, "{first:?}");
    assert_eq!(first.challenge, Some(world.challenge("scope=\"calc\"")));
    assert_eq!((&*second.url, second.status), (&*world.metadata(), 200));

    // It requests that scope for this resource from the authorization server of the metadata.
    let tokens: Vec<_> =
        sent.iter().filter_map(|it| Some((it.status, it.form.as_ref()?))).collect();
    let [(200, calc), (200, more)] = tokens[..] else { panic!("{tokens:#?}") };
    assert_eq!(calc.scope.as_deref(), Some("calc"));
    assert_eq!(calc.resource.as_deref(), Some(&*world.url));
    // It steps up to the scope of the 403.
    assert!(more.scope.as_deref().is_some_and(|scope| scope.contains("calc:admin")), "{more:?}");

    let refusals: Vec<_> =
        sent.iter().filter(|it| world.is_ours(it) && matches!(it.status, 401 | 403)).collect();
    let [_, forbidden] = refusals[..] else { panic!("{refusals:#?}") };
    let told = "error=\"insufficient_scope\", scope=\"calc calc:admin\"";
    assert_eq!((forbidden.status, &forbidden.challenge), (403, &Some(world.challenge(told))));
    let odd =
        |it: &&&Exchange| world.is_ours(it) && !matches!(it.status, 200 | 202 | 401 | 403 | 405);
    assert_eq!(sent.iter().find(odd).map(|it| it.status), None);
}

/// A client that cannot get the scope is refused for that tool only.
async fn expect_refusal_of_step_up(client: Command) {
    let Some(world) = World::start().await else { return };
    let lines = world.run(client, "guest", &["reset", "add"]).await;
    assert_eq!(called(&lines), [("reset", None), ("add", Some("5"))], "{lines:#?}");
    let told = world.challenge("error=\"insufficient_scope\", scope=\"calc calc:admin\"");
    let sent = sent(&lines);
    let forbidden = sent.iter().filter(|it| it.status == 403).map(|it| it.challenge.as_deref());
    assert_eq!(forbidden.collect::<Vec<_>>(), [Some(&*told)]);
}

#[tokio::test]
async fn mcp_typescript_client_discovers_the_authorization_server_and_steps_up() {
    let Some(client) = typescript() else { return };
    expect_discovery_and_step_up(client).await;
}

#[tokio::test]
async fn mcp_typescript_client_without_the_scope_is_refused() {
    let Some(client) = typescript() else { return };
    expect_refusal_of_step_up(client).await;
}

#[tokio::test]
async fn mcp_python_client_discovers_the_authorization_server_and_steps_up() {
    let Some(client) = python() else { return };
    expect_discovery_and_step_up(client).await;
}

#[tokio::test]
async fn mcp_python_client_without_the_scope_is_refused() {
    let Some(client) = python() else { return };
    expect_refusal_of_step_up(client).await;
}

#[tokio::test]
async fn mcp_python_client_listens_until_it_is_cut_off_and_again_with_another_token() {
    let Some(client) = python() else { return };
    let Some(world) = World::start().await else { return };
    let listening = |line: &Line| {
        if let Line::Called { text: Some(text), .. } = line
            && text == "listening"
        {
            let cutoff = Cutoff::client(world.authority.issuer(), "svc");
            world.api.revocations().revoke(&cutoff);
        }
    };
    let lines = world.run_until(client, "svc", &["listen"], listening).await;
    assert_eq!(
        called(&lines),
        [("listen", Some("listening")), ("listen", None), ("listen", Some("listening again"))],
        "{lines:#?}"
    );
    let lost = lines.iter().find_map(|line| match line {
        Line::Called { error, .. } => error.as_deref(),
        Line::Sent(_) => None,
    });
    assert!(lost.is_some_and(|error| error.starts_with("SubscriptionLost")), "{lost:?}");
    // The first request after the cutoff is refused, with the challenge by which it gets a token.
    let after =
        lines.iter().skip_while(|line| !matches!(line, Line::Called { error: Some(_), .. }));
    let refused = after.filter_map(|line| match line {
        Line::Sent(exchange) if world.is_ours(exchange) => Some(exchange),
        _ => None,
    });
    let refused = refused.take(1).collect::<Vec<_>>();
    let told = world.challenge("error=\"invalid_token\", scope=\"calc\"");
    assert!(
        matches!(refused[..], [it] if it.status == 401 && it.challenge.as_deref() == Some(&*told)),
        "{refused:#?}"
    );
}
