//! What a trace tells is what came out, over all attacks of this collection; and the program
//! `introspect` says of each what the library says.
//!
//! Only with the feature `cli`. The helpers of other modules that verify tokens listen with an [`Ear`].

#[cfg(not(feature = "cli"))]
pub(crate) use self::deaf::Ear;
#[cfg(feature = "cli")]
pub(crate) use self::listening::{Ear, program_agrees};

#[cfg(not(feature = "cli"))]
mod deaf {
    use tower_introspect::ErrorKind;

    pub(crate) struct Ear;

    impl Ear {
        pub(crate) fn open() -> Self {
            Self
        }

        pub(crate) fn heard(self, _: Option<ErrorKind>) {}
    }
}

#[cfg(feature = "cli")]
mod listening {
    use std::{
        cell::Cell,
        io::Write as _,
        process::{Command, Stdio},
        sync::LazyLock,
    };

    use serde_json::Value;
    use tower_introspect::{
        ErrorKind,
        trace::{Recording, Stage},
    };

    thread_local! {
        static OPEN: Cell<u32> = const { Cell::new(0) };
        static DISTURBED: Cell<bool> = const { Cell::new(false) };
    }

    /// Listens to one verification.
    pub(crate) struct Ear(Option<Recording>);

    impl Ear {
        pub(crate) fn open() -> Self {
            OPEN.set(OPEN.get() + 1);
            if OPEN.get() > 1 {
                // Several verifications at once on one thread: nobody can tell them apart.
                DISTURBED.set(true);
                return Self(None);
            }
            DISTURBED.set(false);
            Self(Some(Recording::start()))
        }

        /// The reason that was overheard must be this one.
        #[track_caller]
        pub(crate) fn heard(mut self, outcome: Option<ErrorKind>) {
            let Some(recording) = self.0.take() else { return };
            let trace = recording.finish();
            let reason = trace.failed().map(|step| step.outcome.unwrap_err());
            assert!(DISTURBED.get() || reason == outcome, "{trace:?} where it was {outcome:?}");
        }
    }

    impl Drop for Ear {
        fn drop(&mut self) {
            OPEN.set(OPEN.get() - 1);
        }
    }

    /// The program says of this token, with the keys in this file, what the library said: the same
    /// reason; or if it was verified, nothing that is not the policy's.
    #[track_caller]
    pub(crate) fn program_agrees(
        issuer: &str,
        jwks: &str,
        token: &str,
        outcome: Option<ErrorKind>,
    ) {
        static KEYS: LazyLock<String> = LazyLock::new(|| {
            let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("collection.json");
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
            // The middleware looks at none that is so long.
            assert_eq!(said["reason"], "token_too_long");
            return;
        }
        if said["cleaned"].as_array().is_none_or(|cleaned| !cleaned.is_empty()) {
            // It judges another token then, and says that this one is refused.
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
                    let found = tower_introspect::trace::Check::ALL
                        .into_iter()
                        .find(|known| check["check"] == known.name());
                    found.is_some_and(|known| known.stage() == Stage::Policy)
                };
                assert!(failed.is_none_or(of_policy), "{token}: {said:#}");
            }
        }
    }
}
