//! The recorded checks of a verification end with the reason of its outcome, over all attacks of this
//! collection.
//!
//! Only with the feature `checks`. The helpers of other modules that verify tokens listen with an [`Ear`].

#[cfg(not(feature = "checks"))]
pub(crate) use self::deaf::Ear;
#[cfg(feature = "checks")]
pub(crate) use self::listening::Ear;

/// Takes no second opinion. The tests of the program take this collection too, and ask the program here.
pub(crate) fn second_opinion(_: &str, _: &str, _: &str, _: Option<tower_introspect::ErrorKind>) {}

#[cfg(not(feature = "checks"))]
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

#[cfg(feature = "checks")]
mod listening {
    use std::cell::Cell;

    use tower_introspect::{ErrorKind, checks::Recording};

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
}
