//! Runs the examples as their users do.

use std::{path::PathBuf, process::Stdio};

use testing::program::{output, request, started, stop};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};
use tower_introspect::test_util::AuthorizationServer;

use crate::support::PATIENCE;

/// An example that was built along with this test.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let directory: PathBuf = test.parent().unwrap().parent().unwrap().join("examples");
    let file = directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        file.exists(),
        "{name} is not built: run the tests without naming a target, or build it"
    );
    let mut command = Command::new(file);
    command.env_remove("NO_COLOR").env_remove("PORT").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Returns the request and the response of each row of the printed table.
fn rows(out: &str) -> Vec<(String, String)> {
    let lines = out.lines().skip_while(|line| !line.starts_with("---")).skip(1);
    let mut rows: Vec<(String, String)> = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (request, answer) = line.split_at_checked(33).expect("no row of the table");
        match rows.last_mut() {
            Some((_, last)) if request.trim().is_empty() => {
                last.push(' ');
                last.push_str(answer.trim());
            }
            _ => rows.push((request.trim().to_owned(), answer.trim().to_owned())),
        }
    }
    rows
}

#[tokio::test]
async fn quickstart_prints_admitted_and_refused_requests() {
    let (ok, out, err) = output(&mut example("quickstart")).await;
    assert!(ok, "{err}");
    assert!(out.lines().all(|line| line.len() <= 100), "{out}");
    // The output is not a terminal, so it has no colours.
    assert!(!out.contains('\x1b'));
    let invalid = r#"401  Bearer realm="https://api.example.com", error="invalid_token""#;
    let scope = r#"403  Bearer realm="https://api.example.com", error="insufficient_scope", scope="read:payments""#;
    let expected = [
        ("/payments, an opaque token", "200  the payments of alice"),
        ("/payments, a JWT", "200  the payments of alice"),
        ("/payments, no token", r#"401  Bearer realm="https://api.example.com""#),
        ("/payments, a revoked token", invalid),
        ("/payments, an expired JWT", invalid),
        ("/payments, a forged JWT", invalid),
        ("/payments, a JWT for another API", invalid),
        ("/payments, an ID token", invalid),
        ("/payments, no scope", scope),
        ("/me, no scope", "200  you are alice"),
    ];
    let expected = expected.map(|(request, answer)| (request.to_owned(), answer.to_owned()));
    assert_eq!(rows(&out), expected);
    assert!(out.contains("asked for its keys 2 times and about opaque tokens 2 times"), "{out}");
}

#[tokio::test]
async fn quickstart_serves_until_it_is_stopped() {
    let mut child = example("quickstart").arg("--serve").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The address is in the line after the token.
    let (mut token, mut address) = (None, None);
    while address.is_none() {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("in time").unwrap();
        let line = line.expect("no further line");
        if token.is_some() {
            address = line.trim().strip_prefix("http://").map(str::to_owned);
        }
        if let Some((_, rest)) = line.split_once("Authorization: Bearer ") {
            token = rest.split('\'').next().map(str::to_owned);
        }
    }
    let address = address.unwrap();
    let (at, path) = address.split_once('/').unwrap();
    let header = format!("Authorization: Bearer {}\r\n", token.unwrap());
    let answer = request(at, &format!("/{path}"), &header).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("the payments of alice"), "{answer}");
    assert!(request(at, &format!("/{path}"), "").await.starts_with("HTTP/1.1 401"));
    stop(child).await;
}

#[tokio::test]
async fn quickstart_refuses_unknown_arguments() {
    let (ok, _, err) = output(example("quickstart").arg("--sevre")).await;
    assert!(!ok && err.contains("usage"), "{err}");
}

#[tokio::test]
async fn grpc_example_requires_scope_by_method() {
    let (ok, out, err) = output(&mut example("grpc")).await;
    assert!(ok, "{err}");
    let statuses: Vec<_> = out
        .lines()
        .map(|line| line.split_at_checked(38).expect("no row"))
        .map(|(call, rest)| (call.trim(), rest.split_whitespace().next().unwrap()))
        .collect();
    assert_eq!(
        statuses,
        [
            ("Health/Check, no token", "Ok"),
            ("Health/Watch, which is not named", "PermissionDenied"),
            ("Version, no token", "Ok"),
            ("SayHello, no token", "Unauthenticated"),
            ("SayHello, the scope greet", "Ok"),
            ("SayHello, a token for another service", "Unauthenticated"),
            ("SayHello, a token that names no team", "PermissionDenied"),
            ("SetGreeting, the scope greet", "PermissionDenied"),
            ("SetGreeting, the scope greet:write", "Ok"),
            ("SetGreeting, another team", "PermissionDenied"),
            ("SetGreeting, the scope greet:admin", "Ok"),
            ("WatchGreeting, a token for seconds", "Ok"),
            ("WatchGreeting, it has expired", "Unauthenticated"),
            ("WatchGreeting, a narrower scope", "PermissionDenied"),
            ("WatchGreeting, a revoked token", "Unauthenticated"),
            ("Chat, a name", "Ok"),
            ("Chat, the token of another user", "Ok"),
            ("Chat, a token without the scope", "Ok"),
            ("Chat, another token", "Ok"),
            ("SetGreetings, two", "Ok"),
            ("SetGreetings, the user is cut off", "Unauthenticated"),
            ("Chat, the user is cut off", "Unauthenticated"),
        ]
    );
    assert!(out.contains("hello, Bob") && out.contains("good morning, Dora"), "{out}");
    assert!(out.contains("scope=\"greet:write greet:admin\""), "{out}");
    for ended in out.lines().filter(|line| line.contains("expired") || line.contains("cut off")) {
        assert!(ended.ends_with("error=\"invalid_token\""), "{ended}");
    }
    for told in [
        "a narrower scope       PermissionDenied  Bearer realm=\"https://greeter.example.com\", \
         error=\"insufficient_scope\", scope=\"greet\"",
        "not with this token: denied",
        "not with this token: insufficient_scope",
        "go on",
    ] {
        assert!(out.contains(told), "{told}: {out}");
    }
}

#[tokio::test]
async fn grpc_example_serves_until_it_is_stopped() {
    let mut child = example("grpc").arg("--serve").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async || timeout(PATIENCE, lines.next_line()).await.expect("in time").unwrap();
    let address =
        line().await.unwrap().strip_prefix("listening on ").expect("no address").to_owned();
    let token = line().await.unwrap().strip_prefix("authorization: ").expect("a token").to_owned();

    let channel =
        tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let call = async |path: &'static str, token: Option<&str>| {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let mut request = tonic::Request::new(());
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token.parse().unwrap());
        }
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let outcome = client.unary(request, path.parse().unwrap(), codec).await;
        outcome.map_or_else(|status| status.code(), |_| tonic::Code::Ok)
    };
    assert_eq!(call("/greeter.Greeter/SayHello", Some(&token)).await, tonic::Code::Ok);
    assert_eq!(call("/greeter.Greeter/SayHello", None).await, tonic::Code::Unauthenticated);
    assert_eq!(call("/grpc.health.v1.Health/Check", None).await, tonic::Code::Ok);
    drop(channel);
    stop(child).await;
}

#[tokio::test]
async fn mcp_server_passes_its_self_check() {
    let (ok, out, err) = output(example("mcp_server").arg("--check")).await;
    assert!(ok, "{out}{err}");
    let statuses: Vec<_> =
        out.lines().map(|line| line[52..].split(' ').next().unwrap().to_owned()).collect();
    let expected = "401 200 200 200 200 200 200 403 200 200 200 200 ended 401";
    assert_eq!(statuses.join(" "), expected);
}

#[tokio::test]
async fn mcp_server_serves_for_a_configured_issuer() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    let mut command = example("mcp_server");
    command.env("MCP_SERVER_LISTEN", "127.0.0.1:0").env("MCP_SERVER_ISSUER", server.issuer());
    let (ok, _, err) = output(&mut command).await;
    assert!(!ok && err.contains("metadata.resource: "), "{err}");

    command.env("MCP_SERVER_DANGER_ALLOW_HTTP_LOOPBACK", "true");
    let (child, address) = started(&mut command).await;
    let address = address.strip_suffix("/mcp").unwrap();
    let answer = request(address, "/.well-known/oauth-protected-resource/mcp", "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(server.issuer()), "{answer}");
    stop(child).await;
}

#[tokio::test]
async fn mcp_server_mints_tokens_only_on_loopback() {
    let mut command = example("mcp_server");
    command.env_remove("MCP_SERVER_ISSUER").env("MCP_SERVER_LISTEN", "0.0.0.0:0");
    let (ok, out, err) = output(&mut command).await;
    assert!(!ok && out.is_empty() && err.contains("set MCP_SERVER_ISSUER"), "{out}{err}");
}

#[tokio::test]
async fn mtls_example_prints_which_certificate_is_accepted() {
    let (ok, out, err) = output(&mut example("mtls")).await;
    assert!(ok, "{err}");
    assert!(out.lines().all(|line| line.len() <= 100), "{out}");
    let columns = |line: &str| {
        let (what, answer) = line.split_at_checked(44)?;
        Some((what.trim().to_owned(), answer.to_owned()))
    };
    let rows: Vec<_> = out.lines().filter_map(columns).collect();
    for (what, answer) in [
        ("bound to a certificate, that one", "200  the payments of alice"),
        ("bound to a certificate, another", "401  error=\"invalid_token\""),
        ("bound to a certificate, none", "401  error=\"invalid_token\""),
        ("bound to nothing, any", "401  error=\"invalid_token\""),
        ("bound, and written in a header", "401  error=\"invalid_token\""),
        ("its own", "200  {\"active\":true"),
        ("that of another client", "401  {\"error\":\"invalid_client\"}"),
        ("none", "no connection"),
        ("its own, where none is asked for", "401  {\"error\":\"invalid_client\"}"),
    ] {
        assert!(rows.contains(&(what.to_owned(), answer.to_owned())), "{what}: {out}");
    }
    assert!(out.contains("tls_client_certificate_bound_access_tokens: true"), "{out}");
    let (ok, _, err) = output(example("mtls").arg("--serve")).await;
    assert!(!ok && err.contains("usage"), "{err}");
}
