//! Runs the program on the tokens of the library's tests.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::LazyLock,
};

use serde_json::Value;
use tower_introspect::{
    ErrorKind,
    checks::{Check, Stage},
};

/// Records nothing. In the library's own tests, this type records the checks.
pub(crate) struct RecordedChecks;

impl RecordedChecks {
    pub(crate) fn record() -> Self {
        Self
    }

    pub(crate) fn expect_reason(self, _: Option<ErrorKind>) {}
}

/// Checks that the program refuses the token for the same reason as the library. If the library
/// verified it, only the policy may refuse it.
#[track_caller]
pub(crate) fn compare_with_program(
    issuer: &str,
    jwks: &str,
    token: &str,
    outcome: Option<ErrorKind>,
) {
    static KEYS: LazyLock<String> = LazyLock::new(|| {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("library_verdicts.json");
        path.to_str().unwrap().to_owned()
    });
    static WRITTEN: std::sync::Once = std::sync::Once::new();
    WRITTEN.call_once(|| std::fs::write(&*KEYS, jwks).unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_introspect"))
        .args(["verify", "--json", "--any-audience", "--at", "1700000000"])
        .args(["--issuer", issuer, "--jwks", &KEYS])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    if token.len() > 8 * 1024 {
        // The middleware refuses such tokens before it verifies them.
        assert_eq!(said["reason"], "token_too_long");
        return;
    }
    if said["cleaned"].as_array().is_none_or(|cleaned| !cleaned.is_empty()) {
        // The program verifies the cleaned token, and reports that this one would be refused.
        assert!(outcome.is_some(), "{token}");
        return;
    }
    let reason = said["reason"].as_str();
    match outcome {
        Some(kind) => assert_eq!(reason, Some(kind.reason()), "{token}: {said:#}"),
        None => {
            let checks = said["checks"].as_array().unwrap();
            let failed = checks.iter().find(|check| check["state"] == "failed");
            let of_policy = |check: &Value| {
                let found = Check::ALL.into_iter().find(|known| check["check"] == known.name());
                found.is_some_and(|known| known.stage() == Stage::Policy)
            };
            assert!(failed.is_none_or(of_policy), "{token}: {said:#}");
        }
    }
}
