//! Requests that the page does not make are refused, and nothing of them is kept.

use reqwest::StatusCode;
use serde_json::json;
use testing::host::PATIENCE;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    program::{Ui, assert_guarded, refused},
    run::{good, run},
};

const CALL: &str = r#"{"command":"decode","token":"x"}"#;

#[tokio::test]
async fn page_and_its_files_have_the_headers_that_guard_them() {
    let ui = Ui::start(&[]).await;
    for (file, kind) in [
        ("", "text/html; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let response = ui.get(format!("{}{file}", ui.url)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], kind);
        assert_guarded(&response);
        assert!(!response.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn only_the_secret_path_is_served() {
    let ui = Ui::start(&[]).await;
    let other = Ui::start(&[]).await;
    let secret = ui.url.rsplit('/').nth(1).unwrap();
    // 256 bits in base64url.
    assert_eq!(secret.len(), 43);
    assert_ne!(other.url.rsplit('/').nth(1), Some(secret));
    let origin = ui.origin();
    for path in [
        String::new(),
        "/".to_owned(),
        "/page.js".to_owned(),
        "/run".to_owned(),
        format!("/{secret}"),
        format!("/{}/", &secret[..42]),
        format!("/{secret}x/"),
        format!("/{}/", secret.to_uppercase()),
        format!("//{secret}/"),
        format!("/{secret}/nothing"),
        format!("/{secret}/page.js/"),
        format!("/{secret}/?token={}", good()),
        format!("/{secret}/run?token={}", good()),
        format!("/{secret}/{}", good()),
    ] {
        refused(ui.get(format!("{origin}{path}")), StatusCode::NOT_FOUND).await;
    }
    refused(ui.get(format!("{}run", ui.url)), StatusCode::METHOD_NOT_ALLOWED).await;
}

#[tokio::test]
async fn host_must_be_the_address_of_the_page() {
    let ui = Ui::start(&[]).await;
    let port = ui.host.split(':').nth(1).unwrap();
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        &format!("127.0.0.1.evil.example:{port}"),
        &format!("127.0.0.2:{port}"),
        &format!("[::1]:{port}"),
        &format!("LOCALHOST:{port}"),
        "127.0.0.1",
        "localhost",
        "127.0.0.1:1",
        "",
    ] {
        let wrong = StatusCode::MISDIRECTED_REQUEST;
        refused(ui.get(&ui.url).header("host", host), wrong).await;
        refused(ui.post(CALL).header("host", host), wrong).await;
    }
    let right = ui.get(&ui.url).header("host", format!("localhost:{port}")).send().await.unwrap();
    assert_eq!(right.status(), StatusCode::OK);
    let path = ui.url.strip_prefix(&ui.origin()).unwrap();
    for head in [
        format!("GET {path} HTTP/1.1\r\n"),
        format!("GET {path} HTTP/1.0\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: {0}\r\nHost: {0}\r\n", ui.host),
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nHost: evil.example\r\n", ui.host),
        format!("GET http://evil.example{path} HTTP/1.1\r\nHost: {}\r\n", ui.host),
    ] {
        let response = raw(&ui, &format!("{head}\r\n")).await;
        assert!(response.starts_with("HTTP/1.1 421 ") || response.starts_with("HTTP/1.0 421 "));
        assert!(!response.contains("<html"), "{response}");
    }
}

#[tokio::test]
async fn other_pages_can_not_send_requests() {
    let ui = Ui::start(&[]).await;
    let (origin, wrong) = (ui.origin(), StatusCode::FORBIDDEN);
    let localhost = origin.replace("127.0.0.1", "localhost");
    let https = origin.replace("http:", "https:");
    for other in ["http://evil.example", "null", "", "http://127.0.0.1:1", &localhost, &https] {
        refused(ui.post(CALL).header("origin", other), wrong).await;
        refused(ui.get(&ui.url).header("origin", other), wrong).await;
        let both = ui.post(CALL).header("origin", &origin).header("origin", other);
        refused(both, wrong).await;
    }
    for site in ["cross-site", "same-site", "none", ""] {
        refused(ui.post(CALL).header("sec-fetch-site", site), wrong).await;
    }
    let right = ui.post(CALL).header("origin", &origin).header("sec-fetch-site", "same-origin");
    assert_eq!(right.send().await.unwrap().status(), StatusCode::OK);
    // A page can send these types without a preflight.
    let wrong = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    refused(ui.bare_post(CALL), wrong).await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        refused(ui.bare_post(CALL).header("content-type", kind), wrong).await;
        refused(ui.post(CALL).header("content-type", kind), wrong).await;
    }
    // A preflight is never granted.
    let preflight = reqwest::Client::builder().no_proxy().build().unwrap();
    let preflight = preflight.request(reqwest::Method::OPTIONS, format!("{}run", ui.url));
    let preflight = preflight.header("origin", "http://evil.example");
    refused(preflight, StatusCode::FORBIDDEN).await;
}

#[tokio::test]
async fn bodies_that_are_no_call_are_refused() {
    let ui = Ui::start(&[]).await;
    for body in [
        "",
        "token",
        "{",
        "null",
        "[]",
        "{}",
        r#"{"command":"decode"}"#,
        r#"{"command":"decode","token":7}"#,
        r#"{"command":"decode","token":"x","config":"/etc/passwd"}"#,
        r#"{"command":"decode","token":"x","options":{"a":"b"}}"#,
    ] {
        refused(ui.post(body), StatusCode::BAD_REQUEST).await;
    }
    refused(
        ui.post([&b"{\"command\":\"decode\",\"token\":\""[..], b"\xff\"}"].concat()),
        StatusCode::BAD_REQUEST,
    )
    .await;
}

#[tokio::test]
async fn body_is_bounded() {
    let ui = Ui::start(&[]).await;
    let path = ui.url.strip_prefix(&ui.origin()).unwrap();
    let head = format!(
        "POST {path}run HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n",
        ui.host
    );
    // Of the known length nothing is read.
    let response = raw(&ui, &format!("{head}Content-Length: 1048577\r\n\r\n")).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let response = raw(
        &ui,
        &format!("{head}Transfer-Encoding: chunked\r\n\r\n{}1\r\nx\r\n", chunk.repeat(16)),
    )
    .await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    // A token may be almost as long.
    let shown = ui.call("decode", &"x".repeat(1_048_000), json!({})).await;
    assert_eq!(shown["outcome"], "accepted");
}

#[tokio::test]
async fn connections_without_a_request_do_not_keep_others_out() {
    let ui = Ui::start(&[]).await;
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(TcpStream::connect(&ui.host).await.unwrap());
    }
    let response = timeout(PATIENCE, ui.get(&ui.url).send()).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    drop(idle);
}

#[tokio::test]
async fn nothing_is_printed_but_the_address() {
    let ui = Ui::start(&[]).await;
    let token = good();
    let issuer = json!({"issuer": ["http://127.0.0.1:1"], "audience": ["a"], "danger-allow-http-loopback": []});
    ui.call("decode", &token, json!({})).await;
    ui.call("verify", &token, issuer).await;
    ui.call("verify", &token, json!({})).await;
    ui.call("explain", &token, json!({})).await;
    ui.call("decode", "-", json!({})).await;
    ui.call("decode", "", json!({})).await;
    refused(ui.post(format!("{{\"{token}\"")), StatusCode::BAD_REQUEST).await;
    refused(ui.get(format!("{}{token}", ui.url)), StatusCode::NOT_FOUND).await;
    assert_eq!(ui.output().await, "");
}

#[tokio::test]
async fn it_listens_on_127_0_0_1_only() {
    let ui = Ui::start(&[]).await;
    assert!(ui.url.starts_with("http://127.0.0.1:"), "{}", ui.url);
    let port: u16 = ui.host.split(':').nth(1).unwrap().parse().unwrap();
    // Whatever listens on all addresses of this machine is found here too.
    assert!(TcpStream::connect(("127.0.0.2", port)).await.is_err());
    assert!(TcpStream::connect(("::1", port)).await.is_err());
    let taken = run(&["ui", "--port", &port.to_string()], "").await;
    assert!(taken.code == 2 && taken.err.contains("--port 0"), "{}", taken.screen());
    for option in ["--host", "--listen", "--address"] {
        assert_eq!(run(&["ui", option, "0.0.0.0"], "").await.code, 2);
    }
}

#[tokio::test]
async fn mistakes_in_the_configuration_end_the_program_at_once() {
    let ran = run(&["ui", "--config", "/nonexistent.toml"], "").await;
    assert!(ran.code == 2 && ran.out.is_empty(), "{}", ran.screen());
}

/// Sends this text and returns the response.
async fn raw(ui: &Ui, request: &str) -> String {
    let mut stream = TcpStream::connect(&ui.host).await.unwrap();
    let mut response = Vec::new();
    // The server may respond and close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = timeout(PATIENCE, stream.read_to_end(&mut response)).await.unwrap();
    String::from_utf8(response).unwrap()
}
