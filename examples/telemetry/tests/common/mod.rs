//! Starts a program of this package, and sends requests to it.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

/// Starts one of the programs. Returns it with the address it listens on.
pub async fn service(program: &str, variables: &[(&str, &str)]) -> (Child, String) {
    let mut command = Command::new(program);
    command.env("TELEMETRY_LISTEN", "127.0.0.1:0").kill_on_drop(true);
    command.envs(variables.iter().copied());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line =
        timeout(Duration::from_secs(120), lines.next_line()).await.expect("in time").unwrap();
    let line = line.expect("it says where it listens");
    let address = line.strip_prefix("listening on http://").expect(&line).to_owned();
    // It continues to write its audit trail to the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

/// Sends a GET request with these fields. Returns the response, if there is one.
pub async fn fetch(address: &str, path: &str, fields: &str) -> Option<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    };
    timeout(Duration::from_secs(120), ask).await.ok()?
}
