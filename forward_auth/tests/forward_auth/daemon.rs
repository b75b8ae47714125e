//! The command line, the limits, readiness and the end of the process.

use std::path::PathBuf;

use testing::program::{header, output, request, started, stopped, stopped_by};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tower_introspect::test_util::{AuthorizationServer, Endpoint, Fault};

use crate::{AUDIENCE, forward_auth};

/// Writes settings for this issuer, with other lines at the top.
pub(crate) fn file(name: &str, issuer: &str, top: &str) -> PathBuf {
    let name = format!("forward-auth-daemon-{name}-{}.toml", std::process::id());
    let file = std::env::temp_dir().join(name);
    let text = format!(
        "listen = '127.0.0.1:0'\n{top}\n[resource_server]\naudience = '{AUDIENCE}'\n\
         danger_allow_http_loopback = true\n[[resource_server.issuer]]\nissuer = '{issuer}'\n\
         mode = 'jwt'\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// Reads a response until `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 1024];
    let read = async {
        while !text.contains(end) {
            let count = stream.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "{text}");
            text += &String::from_utf8_lossy(&bytes[..count]);
        }
    };
    timeout(testing::host::PATIENCE, read).await.expect("in time");
    text
}

#[tokio::test]
async fn the_command_line_explains_itself() {
    let (ok, help, _) = output(forward_auth().arg("--help")).await;
    assert!(ok, "{help}");
    for text in ["--config <FILE>", "--check", "--log <LEVEL>", "FORWARD_AUTH_LISTEN", "Traefik"] {
        assert!(help.contains(text), "{help}");
    }
    let (ok, version, _) = output(forward_auth().arg("--version")).await;
    assert!(ok && version.starts_with("forward-auth 0."), "{version}");
    let (ok, out, err) = output(forward_auth().arg("--confg")).await;
    assert!(!ok && out.is_empty() && err.contains("--config"), "{err}");
    let (ok, out, err) = output(forward_auth().args(["--config", "/nonexistent.toml"])).await;
    assert!(!ok && out.is_empty() && err.contains("/nonexistent.toml: "), "{err}");
}

#[tokio::test]
async fn settings_are_checked_without_a_request() {
    let file = file("check", "https://as.example.com", "");
    let (ok, out, err) = output(forward_auth().arg("--check").arg("--config").arg(&file)).await;
    assert!(ok, "{err}");
    assert_eq!((&*out, &*err), ("the settings are right\n", ""));
    let text = std::fs::read_to_string(&file).unwrap();
    let wrong = "max_connections = 0\nlisten = '127.0.0.1:0'";
    std::fs::write(&file, text.replace("listen = '127.0.0.1:0'", wrong)).unwrap();
    let (ok, _, err) = output(forward_auth().arg("--check").arg(&file)).await;
    assert!(!ok && err.contains("max_connections: must be at least 1"), "{err}");
    std::fs::remove_file(file).unwrap();
}

/// A file may hold a secret in a wrong place, or be cut off within one.
#[tokio::test]
async fn no_secret_is_printed() {
    let secret = "hunter2hunter2";
    let file = file("secret", "https://as.example.com", "");
    let text = std::fs::read_to_string(&file).unwrap();
    let with = |client: &str| format!("{}{client}", text.replace("'jwt'", "'introspect'"));
    for (settings, right) in [
        (
            with(&format!("client = {{ method = 'basic', id = 'a', danger_secret = '{secret}' }}")),
            true,
        ),
        (with(&format!("client = {{ method = 'basic', id = 'a', secret = '{secret}' }}")), false),
        (with(&format!("client = '{secret}'")), false),
        (with(&format!("client_secret = '{secret}'")), false),
        (with(&format!("client = {{ method = 'basic', danger_secret = '{secret}")), false),
        (format!("secret = '{secret}'\n{text}"), false),
    ] {
        std::fs::write(&file, &settings).unwrap();
        let (ok, out, err) =
            output(forward_auth().args(["--log", "trace", "--check"]).arg(&file)).await;
        assert_eq!(ok, right, "{settings}: {err}");
        assert!(!format!("{out}{err}").contains(secret), "{settings}: {out}{err}");
    }
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn the_start_is_logged_with_fields_and_without_colours() {
    let file = file("start", "https://as.example.com", "");
    let mut command = forward_auth();
    let (mut child, address) =
        started(command.arg(&file).stderr(std::process::Stdio::piped())).await;
    let mut err = child.stderr.take().unwrap();
    stopped(child).await;
    let mut log = String::new();
    err.read_to_string(&mut log).await.unwrap();
    let line = log.lines().find(|line| line.contains("listens")).expect(&log);
    for text in ["INFO", &format!("address={address}"), "issuers=1", "version=\"0."] {
        assert!(line.contains(text), "{line}");
    }
    assert!(!log.contains('\x1b'), "{log}");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn readiness_is_reported_at_an_address_of_its_own() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    let ready = format!("127.0.0.1:{}", testing::host::free_port());
    let file = file("ready", server.issuer(), &format!("ready_listen = '{ready}'"));
    let (child, address) = started(forward_auth().arg(&file)).await;
    testing::proxy::until(
        async || request(&ready, "/ready", "").await.starts_with("HTTP/1.1 200"),
        || "it is not ready".to_owned(),
    )
    .await;
    // The proxy may pass on any path of a client, so there is no path that needs no token.
    let answer = request(&address, "/ready", "").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let answer = request(&ready, "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    stopped(child).await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_long_head_is_refused_and_the_service_lives_on() {
    let file = file("head", "https://as.example.com", "");
    let (child, address) = started(forward_auth().arg(&file)).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}", "a".repeat(70_000));
    // It may close the connection before it has read everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = request(&address, "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    stopped(child).await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let file = file("most", "https://as.example.com", "max_connections = 1");
    let (child, address) = started(forward_auth().arg(&file)).await;
    let ask = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut first = TcpStream::connect(&address).await.unwrap();
    first.write_all(ask).await.unwrap();
    read_until(&mut first, "HTTP/1.1 401").await;
    let mut second = TcpStream::connect(&address).await.unwrap();
    second.write_all(ask).await.unwrap();
    // The first is still served, and the second is not before it is gone.
    first.write_all(ask).await.unwrap();
    read_until(&mut first, "HTTP/1.1 401").await;
    let mut byte = [0];
    assert!(second.try_read(&mut byte).is_err(), "nothing to read yet");
    drop(first);
    read_until(&mut second, "HTTP/1.1 401").await;
    drop(second);
    stopped(child).await;
    std::fs::remove_file(file).unwrap();
}

/// A request that waits for the authorization server when the signal comes is responded to.
#[cfg(unix)]
#[tokio::test]
async fn requests_end_before_the_process_does() {
    for signal in ["-TERM", "-INT"] {
        let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
        server.inject(Endpoint::Jwks, Fault::hang());
        let file = file(&format!("end{signal}"), server.issuer(), "");
        let (child, address) = started(forward_auth().arg(&file)).await;
        let token = server.jwt().audience(AUDIENCE).mint();
        let mut waiting = TcpStream::connect(&address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
        waiting.write_all(head.as_bytes()).await.unwrap();
        // Responded to after the one above was read.
        request(&address, "/", "").await;
        let ended = tokio::spawn(stopped_by(signal, child));
        let answer = read_until(&mut waiting, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert_eq!(header(&answer, "connection"), Some("close"), "{answer}");
        assert!(ended.await.unwrap().success());
        assert!(TcpStream::connect(&address).await.is_err(), "it listens no more");
        std::fs::remove_file(file).unwrap();
    }
}
