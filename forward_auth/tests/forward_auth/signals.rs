//! Logouts and security events.

use testing::program::{output, request, started, stopped};
use tower_introspect::test_util::AuthorizationServer;

use crate::{AUDIENCE, daemon::file, forward_auth};

fn with_signals(file: &std::path::Path, signals: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, format!("{text}\n[resource_server.signals]\n{signals}")).unwrap();
}

async fn post(address: &str, path: &str, content_type: &str, body: &str) -> String {
    let fields = format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len());
    exchange(address, &format!("POST {path}"), &fields, body).await
}

async fn exchange(address: &str, line: &str, fields: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n{body}");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn logout_and_event_are_received_at_an_address_of_their_own() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    let signals = format!("127.0.0.1:{}", testing::host::free_port());
    let file = file("signals", server.issuer(), &format!("signals_listen = '{signals}'"));
    let transmitter = format!(
        "logout_client_id = 'web'\n[[resource_server.signals.transmitter]]\nissuer = '{}'\n\
         audience = 'us'\n",
        server.issuer()
    );
    with_signals(&file, &transmitter);
    let (child, address) = started(forward_auth().arg(&file)).await;
    let status = async |token: &str| {
        let fields = format!("authorization: Bearer {token}\r\n");
        exchange(&address, "GET /", &fields, "").await[9..12].to_owned()
    };
    let token = |subject: &str| server.jwt().subject(subject).audience(AUDIENCE).mint();
    let (alice, bob) = (token("alice"), token("bob"));
    assert_eq!((&*status(&alice).await, &*status(&bob).await), ("200", "200"));

    let logout = format!("logout_token={}", server.logout_token("web").subject("alice").mint());
    let form = "application/x-www-form-urlencoded";
    let answer = post(&signals, "/backchannel-logout", form, &logout).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!((&*status(&alice).await, &*status(&bob).await), ("401", "200"));

    let set = server.security_event("us").of_subject("bob").session_revoked().mint();
    let answer = post(&signals, "/events/1", "application/secevent+jwt", &set).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(status(&bob).await, "401");

    // The proxy may pass on any path of a client.
    let answer = post(&address, "/backchannel-logout", form, &logout).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let answer = request(&signals, "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    stopped(child).await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn address_for_signals_and_receivers_need_each_other() {
    let only_address =
        file("signals-1", "https://as.example.com", "signals_listen = '127.0.0.1:0'");
    let (ok, _, err) = output(forward_auth().arg("--check").arg(&only_address)).await;
    assert!(!ok && err.contains("signals_listen: has no effect"), "{err}");
    let only_receiver = file("signals-2", "https://as.example.com", "");
    with_signals(&only_receiver, "logout_client_id = 'web'\n");
    let (ok, _, err) = output(forward_auth().arg("--check").arg(&only_receiver)).await;
    assert!(!ok && err.contains("signals_listen: missing"), "{err}");
    for file in [only_address, only_receiver] {
        std::fs::remove_file(file).unwrap();
    }
}
