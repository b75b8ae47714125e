//! Checks that the failed check that was recorded for a verification has the reason of its outcome,
//! for every token of the other tests.
//!
//! Active only with the feature `checks`. The helpers of other modules record each verification with
//! [`RecordedChecks`].

#[cfg(not(feature = "checks"))]
pub(crate) use self::disabled::RecordedChecks;
#[cfg(feature = "checks")]
pub(crate) use self::enabled::RecordedChecks;

/// Does nothing here. The tests of the program include `jwt.rs` too, and compare the verdict of the
/// program with this outcome.
pub(crate) fn compare_with_program(
    _: &str,
    _: &str,
    _: &str,
    _: Option<tower_introspect::ErrorKind>,
) {
}

#[cfg(not(feature = "checks"))]
mod disabled {
    use tower_introspect::ErrorKind;

    pub(crate) struct RecordedChecks;

    impl RecordedChecks {
        pub(crate) fn record() -> Self {
            Self
        }

        pub(crate) fn expect_reason(self, _: Option<ErrorKind>) {}
    }
}

#[cfg(feature = "checks")]
mod enabled {
    use std::cell::Cell;

    use tower_introspect::{ErrorKind, checks::Recording};

    thread_local! {
        static RUNNING: Cell<u32> = const { Cell::new(0) };
        static OVERLAPPED: Cell<bool> = const { Cell::new(false) };
    }

    /// Records the checks of one verification.
    pub(crate) struct RecordedChecks(Option<Recording>);

    impl RecordedChecks {
        pub(crate) fn record() -> Self {
            RUNNING.set(RUNNING.get() + 1);
            if RUNNING.get() > 1 {
                // The checks of verifications that run at once on one thread are not told apart.
                OVERLAPPED.set(true);
                return Self(None);
            }
            OVERLAPPED.set(false);
            Self(Some(Recording::start()))
        }

        /// Fails unless the failed check has the reason of `outcome`.
        #[track_caller]
        pub(crate) fn expect_reason(mut self, outcome: Option<ErrorKind>) {
            let Some(recording) = self.0.take() else { return };
            let trace = recording.finish();
            let reason = trace.failed().map(|step| step.outcome.unwrap_err());
            assert!(OVERLAPPED.get() || reason == outcome, "{trace:?} for {outcome:?}");
        }
    }

    impl Drop for RecordedChecks {
        fn drop(&mut self) {
            RUNNING.set(RUNNING.get() - 1);
        }
    }
}
