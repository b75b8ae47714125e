//! Programs as child processes, and plain requests to them.

use std::process::{ExitStatus, Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::host::PATIENCE;

/// Runs a program to its end. Returns true if it succeeded, and its output.
pub async fn output(command: &mut Command) -> (bool, String, String) {
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("the process does not end")
        .expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// Sends a GET and reads the response until the connection closes.
pub async fn request(address: &str, path: &str, headers: &str) -> String {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let text =
            format!("GET {path} HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(text.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it responds");
        answer
    };
    timeout(PATIENCE, ask).await.expect("an answer in time")
}

pub fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = answer.split("\r\n").skip(1).take_while(|line| !line.is_empty());
    lines.find_map(|line| {
        let (have, value) = line.split_once(':')?;
        have.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Sends SIGINT to a process and waits until it ends.
///
/// A process that has not installed its handler yet ends by the signal itself.
pub async fn stop(child: Child) {
    let status = stopped(child).await;
    #[cfg(unix)]
    assert!(
        status.success() || std::os::unix::process::ExitStatusExt::signal(&status) == Some(2),
        "{status}"
    );
    #[cfg(not(unix))]
    drop(status);
}

/// Sends SIGINT to a process and waits until it ends.
pub async fn stopped(child: Child) -> ExitStatus {
    stopped_by("-INT", child).await
}

/// Sends a signal to a process and waits until it ends.
pub async fn stopped_by(signal: &str, mut child: Child) -> ExitStatus {
    if cfg!(unix) {
        let id = child.id().expect("not running").to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await.expect("kill runs");
        assert!(sent.success());
    } else {
        child.start_kill().expect("it runs");
    }
    timeout(PATIENCE, child.wait()).await.expect("does not stop").expect("it ran")
}

/// Starts a program that serves, and returns its address.
pub async fn started(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("it is text");
    let line = line.expect("no address printed");
    let address = line
        .strip_prefix("listening on http://")
        .unwrap_or_else(|| panic!("no address: {line}"))
        .to_owned();
    (child, address)
}
