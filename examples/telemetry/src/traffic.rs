//! Requests of all kinds, so that the metrics have values.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{interval, sleep, timeout},
};
use tower_introspect::test_util::AuthorizationServer;

/// Sends requests, and listens to events, until the task is aborted.
pub(crate) async fn run(address: SocketAddr, server: AuthorizationServer, audience: &'static str) {
    let token =
        || server.opaque().audience(audience).expires_in(Duration::from_secs(86_400)).mint();
    let (long, short) = (token(), token());
    let requests = requests(address, &server, audience);
    tokio::join!(requests, listen(address, "/events", &long), listen(address, "/short", &short));
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
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}
