//! Runs the program and compares its output.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};
use tower_introspect::jose::{Algorithm, SigningKey};

/// How long a test waits for a process. It bounds a hang: everything takes far less, on a busy machine too,
/// and no test concludes anything from it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// How long the program waits for the network where a test does not say it.
const NETWORK: &str = "120";

pub(crate) const ISSUER: &str = "https://as.example.com";
pub(crate) const AUDIENCE: &str = "https://api.example.com";

/// The time of all screens: 2030-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_893_456_000;

/// The exit code and the output of the program.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|_| panic!("no JSON: {}{}", self.out, self.err))
    }

    /// Returns all output and the exit code.
    pub(crate) fn screen(&self) -> String {
        format!("{}{}[exit {}]\n", self.err, self.out, self.code)
    }

    /// Checks that the first ten lines of the screen hold all of these texts. A text may go on over
    /// the end of a line.
    #[track_caller]
    pub(crate) fn tells_at_once(&self, texts: &[&str]) {
        let screen = self.screen();
        let head: Vec<_> = screen.lines().take(10).flat_map(str::split_whitespace).collect();
        let head = head.join(" ");
        for text in texts {
            assert!(head.contains(text), "{text:?} is not in the first ten lines of:\n{screen}");
        }
    }

    /// Compares the screen with the file of this name.
    #[track_caller]
    pub(crate) fn shows(&self, name: &str) {
        self.shows_with(name, &[]);
    }

    /// Compares the screen with the file of this name, after replacing words that vary.
    #[track_caller]
    pub(crate) fn shows_with(&self, name: &str, words: &[(&str, &str)]) {
        let mut screen = self.screen().replace(&*scratch().to_string_lossy(), "DIR");
        for (from, to) in words {
            screen = screen.replace(from, to);
        }
        compare(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/cli/screens")
                .join(format!("{name}.txt")),
            &screen,
        );
    }
}

#[track_caller]
fn compare(path: &Path, screen: &str) {
    if std::env::var_os("UPDATE_SCREENS").is_some() {
        std::fs::write(path, screen).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == screen, "{} differs.\n--- kept\n{kept}\n--- now\n{screen}", path.display());
}

/// Runs the program with this standard input and an empty environment.
pub(crate) async fn run(arguments: &[&str], input: impl AsRef<[u8]>) -> Ran {
    run_in(&[], arguments, input).await
}

/// Runs the program with this standard input and these variables.
pub(crate) async fn run_in(
    variables: &[(&str, &str)],
    arguments: &[&str],
    input: impl AsRef<[u8]>,
) -> Ran {
    let asks = ["verify", "explain", "introspect", "doctor", "keys", "signals"];
    let asks = arguments.first().is_some_and(|name| asks.contains(name));
    let patient: &[&str] =
        if asks && !arguments.contains(&"--timeout") { &["--timeout", NETWORK] } else { &[] };
    let mut child = command(&[arguments, patient].concat())
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The program may end before it has read everything.
    let _ = stdin.write_all(input.as_ref()).await;
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_introspect"));
    command.args(arguments).env_clear().kill_on_drop(true);
    command
}

/// Returns a directory for files.
pub(crate) fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Writes a file and returns its path. Several tests write the same one, so it appears whole.
pub(crate) fn file(name: &str, text: impl AsRef<[u8]>) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let path = scratch().join(name);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let written = scratch().join(format!("{name}.{}-{next}", std::process::id()));
    std::fs::write(&written, text).unwrap();
    std::fs::rename(&written, &path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Returns the issuer's key. EdDSA signatures are deterministic.
pub(crate) fn key() -> SigningKey {
    let pem = include_bytes!("../../../tests/it/keys/ed25519.pem");
    SigningKey::from_pem(Algorithm::EdDSA, pem).unwrap().with_kid("2029-12")
}

/// Writes the issuer's keys to a file.
pub(crate) fn jwks() -> String {
    file("keys.json", json!({"keys": [key().public_jwk().unwrap()]}).to_string())
}

pub(crate) fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "2029-12"})
}

/// Returns the claims of an access token that is valid for another hour.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "client_id": "app",
        "scope": "read write",
        "iat": NOW - 300,
        "exp": NOW + 3600,
        "jti": "7",
    })
}

/// Returns the claims of an ID token, as most servers issue them.
pub(crate) fn id_claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "alice",
        "aud": "webapp",
        "nonce": "n-0S6_WzA2Mj",
        "auth_time": NOW - 400,
        "iat": NOW - 300,
        "exp": NOW + 300,
        "email": "alice@example.com",
    })
}

/// Changes members of `base`; `null` removes one.
pub(crate) fn with(mut base: Value, changes: Value) -> Value {
    let (base_members, Value::Object(changes)) = (base.as_object_mut().unwrap(), changes) else {
        unreachable!("it is an object")
    };
    for (name, value) in changes {
        match value {
            Value::Null => drop(base_members.remove(&name)),
            value => drop(base_members.insert(name, value)),
        }
    }
    base
}

pub(crate) fn sign(header: &Value, claims: &Value) -> String {
    key().sign(header, claims).unwrap()
}

pub(crate) fn good() -> String {
    sign(&header(), &claims())
}

pub(crate) fn at() -> String {
    NOW.to_string()
}
