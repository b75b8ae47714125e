//! Programs, directories, ports and processes of the machine, and skipped tests.

use std::{
    fmt::Write as _, io::Write, net::SocketAddr, path::Path, process::Command, time::Duration,
};

use tokio::net::TcpStream;

/// How long a test waits for a process or a socket. It only bounds a hang: everything takes far
/// less, also on a busy machine, and no test draws a conclusion from it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Says that a test is skipped, and why; with `CI=true` it fails instead.
pub fn skip(missing: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "all tests must run, but {missing} is missing"
    );
    // `eprintln!` would not be shown for a passing test.
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "SKIPPED: {missing} is missing, see CONTRIBUTING.md");
}

/// Returns true if a program of this name is installed.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// A directory for one server, which is removed on drop.
#[derive(Debug)]
pub struct ScratchDir(std::path::PathBuf);

impl ScratchDir {
    pub fn new(name: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the directory for tests is writable");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns a port that nothing listens on, and that no other call of this process returned.
///
/// It is below those that systems give to connections, or a connection could have it before the server
/// does. The port 10,000 above is free, too: the nodes of a Redis cluster talk there.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    const PORTS: u32 = 10_000;
    static CALLS: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin far from each other.
    let start = std::process::id().wrapping_mul(97);
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..PORTS {
        let next = start.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = 10_000 + u16::try_from(next).expect("less than 10,000");
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
    panic!("no port is free");
}

/// A server process that ends when this is dropped or when the thread that started it ends, for any
/// reason. Dropping this ends the processes that it started, too.
#[derive(Debug)]
pub struct Process(std::process::Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        use std::process::Stdio;
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program());
        bound.args(command.get_args());
        for (name, value) in command.get_envs() {
            bound.env(name, value.expect("only set, never removed"));
        }
        if let Some(dir) = command.get_current_dir() {
            bound.current_dir(dir);
        }
        // A process group of its own, for signals to all of its processes.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut bound, 0);
        let quiet = bound.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().expect("the server starts"))
    }

    /// Waits until it listens.
    pub async fn listens(&mut self, command: &Command, address: SocketAddr) {
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                self.must_run(command);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listens).await.expect("it does not listen");
        self.must_run(command);
    }

    /// Waits until it responds.
    pub async fn is_ready(&mut self, command: &Command, http: &reqwest::Client, url: &str) {
        let ready = async {
            while http.get(url).send().await.is_err() {
                self.must_run(command);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("not ready");
    }

    fn must_run(&mut self, command: &Command) {
        let runs = matches!(self.0.try_wait(), Ok(None));
        assert!(runs, "the process ended at once; run {command:?} to see why");
    }
}

/// A suspended process with its children, whose connections stay open until this is dropped.
pub struct Stopped<'a>(&'a Process);

impl Process {
    /// Suspends it, and waits until each of its threads stands still: the signal reaches one thread,
    /// which stops the others when it gets to run.
    pub fn stop(&self) -> Stopped<'_> {
        self.signal("STOP");
        let mut pauses = PATIENCE.as_millis();
        while self.is_running() {
            pauses = pauses.checked_sub(1).expect("it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        Stopped(self)
    }

    /// Returns true if a thread of its process group is neither suspended nor at its end.
    fn is_running(&self) -> bool {
        let group = self.0.id().to_string();
        let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
        let tasks = entries(Path::new("/proc")).map(|process| process.path().join("task"));
        let threads = tasks.flat_map(|task| entries(&task).collect::<Vec<_>>());
        let lines =
            threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
        lines.into_iter().any(|line| {
            // The name of the program is in parentheses, and may have some of its own.
            let (_, rest) = line.rsplit_once(") ").unwrap_or_default();
            let mut fields = rest.split(' ');
            let (state, of_group) = (fields.next(), fields.nth(1) == Some(&*group));
            of_group && !matches!(state, Some("T" | "X" | "Z"))
        })
    }

    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let sent = kill.args(["-s", name, "--", &format!("-{}", self.0.id())]).status();
        assert!(sent.expect("`kill` starts").success(), "not running");
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal("CONT");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).output();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The tokens of a token response, empty if absent.
pub struct Granted {
    pub access: String,
    pub refresh: String,
    pub id: String,
}

impl Granted {
    /// Reads a token response (RFC 6749 §5.1).
    pub fn read(answer: &[u8]) -> Self {
        let answer: serde_json::Value = serde_json::from_slice(answer).expect("a token response");
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        assert_ne!(text("access_token"), "", "{answer}");
        Self { access: text("access_token"), refresh: text("refresh_token"), id: text("id_token") }
    }
}

/// Sends a form as a client whose secret is its name followed by `-secret`. The request must
/// succeed.
pub async fn post(
    http: &reqwest::Client,
    url: &str,
    client: &str,
    form: &[(&str, &str)],
) -> Vec<u8> {
    let request = http
        .post(url)
        .basic_auth(client, Some(format!("{client}-secret")))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(encoded(form));
    answer(request).await.1
}

/// Returns the cookie, if one is set, and the body of a response, which must be successful.
pub async fn answer(request: reqwest::RequestBuilder) -> (Option<String>, Vec<u8>) {
    let response = request.send().await.expect("the server answers");
    let status = response.status();
    let cookie = response.headers().get("set-cookie").and_then(|value| value.to_str().ok());
    let cookie = cookie.and_then(|value| value.split(';').next()).map(str::to_owned);
    let url = response.url().clone();
    let body = response.bytes().await.expect("the answer is complete");
    assert!(status.is_success(), "{url}: {status}: {}", String::from_utf8_lossy(&body));
    (cookie, body.to_vec())
}

fn encoded(form: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in form {
        let _ = write!(out, "{name}=");
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                    out.push(char::from(byte));
                }
                _ => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
            }
        }
        out.push('&');
    }
    out.truncate(out.len().saturating_sub(1));
    out
}
