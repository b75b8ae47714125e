//! Requests of all kinds, so that the metrics have values.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{interval, sleep, timeout},
};
use tower_introspect::test_util::AuthorizationServer;

/// Sends requests, and listens to events, until the task is aborted.
pub(crate) async fn run(
    address: SocketAddr,
    server: AuthorizationServer,
    audience: &'static str,
    receiver: &'static str,
) {
    let token =
        || server.opaque().audience(audience).expires_in(Duration::from_secs(86_400)).mint();
    let (long, short) = (token(), token());
    let requests = requests(address, &server, audience);
    let signals = signals(address, &server, receiver);
    let (long, short) = (listen(address, "/events", &long), listen(address, "/short", &short));
    tokio::join!(requests, signals, long, short);
}

/// Tells of the end of a session that nobody has, and proves that signals arrive.
async fn signals(address: SocketAddr, server: &AuthorizationServer, receiver: &'static str) {
    const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
    let mut clock = interval(Duration::from_secs(1));
    for turn in 0_u64.. {
        clock.tick().await;
        let event = || server.security_event(receiver).of_subject(&format!("nobody-{turn}"));
        let revoked = event().session_revoked().mint();
        let verification = event().event(VERIFICATION, serde_json::json!({})).mint();
        for set in [revoked, verification] {
            let _ = push(address, &set).await;
        }
    }
}

async fn push(address: SocketAddr, set: &str) -> std::io::Result<()> {
    let request = format!(
        "POST /signals HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/secevent+jwt\r\n\r\n{set}",
        set.len()
    );
    exchange(address, &request).await
}

/// Listens to events, and again when they end.
async fn listen(address: SocketAddr, path: &str, token: &str) {
    loop {
        let _ = ask(address, path, Some(token)).await;
        sleep(Duration::from_secs(1)).await;
    }
}

async fn requests(address: SocketAddr, server: &AuthorizationServer, audience: &'static str) {
    let opaque = || server.opaque().audience(audience).scope("read:payments");
    let jwt = || server.jwt().audience(audience).scope("read:payments");
    let (remembered, local) =
        (opaque().mint(), jwt().expires_in(Duration::from_secs(86_400)).mint());
    let mut clock = interval(Duration::from_millis(250));
    for turn in 0_u64.. {
        clock.tick().await;
        let _ = send(address, Some(&remembered)).await;
        let _ = send(address, Some(&local)).await;
        let other = match turn % 8 {
            0 => Some(opaque().mint()),
            1 => Some(format!("unknown-{turn}")),
            2 => Some(jwt().scope("nothing").mint()),
            3 => Some(jwt().kid("unknown").mint()),
            4 => Some(jwt().with_corrupt_signature().mint()),
            5 => Some(jwt().audience("https://other.example.com").mint()),
            6 => Some(jwt().expires_at(tower_introspect::clock::UnixTime::from_secs(1)).mint()),
            _ => None,
        };
        let _ = send(address, other.as_deref()).await;
    }
}

/// Sends one request. Its response is ignored, since the metrics count it.
async fn send(address: SocketAddr, token: Option<&str>) -> std::io::Result<()> {
    timeout(Duration::from_secs(5), ask(address, "/payments", token)).await?
}

async fn ask(address: SocketAddr, path: &str, token: Option<&str>) -> std::io::Result<()> {
    let authorization = match token {
        Some(token) => format!("Authorization: Bearer {token}\r\n"),
        None => String::new(),
    };
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n{authorization}\r\n");
    exchange(address, &request).await
}

async fn exchange(address: SocketAddr, request: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}
