//! A value that is made from files, and made again when one of them changes.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::runtime::Handle;

use crate::{
    clock::{Moment, SystemClock},
    error::config::ConfigError,
};

/// The minimum time between two checks of the files.
pub(crate) const INTERVAL: Duration = Duration::from_secs(60);

/// The longest time that a request waits for a check of the files.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// A value that is made again when one of its files changes. Clones share the value.
///
/// A failure to make it leaves the previous value in use, and is tried again at the next check.
pub(crate) struct FromFiles<T>(Arc<Shared<T>>);

/// Makes the value. Gets the previous one, unless it is the first.
type Make<T> = dyn Fn(Option<&T>) -> Result<T, ConfigError> + Send + Sync;

/// Reports that the value was made again, or why not.
type Report = fn(Result<(), &ConfigError>);

struct Shared<T> {
    files: Vec<PathBuf>,
    make: Box<Make<T>>,
    report: Report,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: T,
    /// The state of the files when the value was made, or just before.
    stamps: Vec<Option<FileStamp>>,
    checked_at: Moment,
    is_checking: bool,
}

/// The modification time of a file and its length in bytes.
type FileStamp = (SystemTime, u64);

/// The right to check the files. Only one caller has it at a time, however long the check takes.
struct CheckGuard<T> {
    shared: Arc<Shared<T>>,
    before: Vec<Option<FileStamp>>,
}

impl<T: Clone + Send + 'static> FromFiles<T> {
    /// Makes the value for the first time. Later failures are reported by `report` only.
    pub(crate) fn new<P, F>(
        files: impl IntoIterator<Item = P>,
        make: F,
        report: Report,
    ) -> Result<Self, ConfigError>
    where
        P: Into<PathBuf>,
        F: Fn(Option<&T>) -> Result<T, ConfigError> + Send + Sync + 'static,
    {
        let files: Vec<PathBuf> = files.into_iter().map(Into::into).collect();
        // Taken before `make` reads the files, so that any later change is noticed.
        let stamps = file_stamps(&files);
        let checked_at = Moment::now(&SystemClock);
        let state = State { value: make(None)?, stamps, checked_at, is_checking: false };
        let (make, state) = (Box::new(make), Mutex::new(state));
        Ok(Self(Arc::new(Shared { files, make, report, state })))
    }

    /// Returns the value as it is, without a check of the files.
    #[cfg(feature = "introspection")]
    pub(crate) fn unchecked(&self) -> T {
        self.0.state().value.clone()
    }

    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.0.files
    }

    /// Returns the value to use now, after a check of the files if one is due.
    ///
    /// # Cancellation
    ///
    /// A check continues if the future is dropped.
    pub(crate) async fn current(self) -> T {
        if let Some(guard) = CheckGuard::take(&self.0) {
            match Handle::try_current() {
                Ok(runtime) => {
                    // The check continues after the timeout.
                    let check = runtime.spawn_blocking(move || guard.check_files());
                    let _ = tokio::time::timeout(MAX_WAIT, check).await;
                }
                Err(_) => guard.check_files(),
            }
        }
        self.0.state().value.clone()
    }

    /// Pretends that a file has changed since a check at that moment.
    #[cfg(test)]
    pub(crate) fn pretend_changed_since(&self, checked_at: Moment) {
        let mut state = self.0.state();
        state.stamps = vec![Some((SystemTime::UNIX_EPOCH, 1))];
        state.checked_at = checked_at;
    }

    /// Returns true if the value was made from the files as the last check found them.
    #[cfg(test)]
    pub(crate) fn is_up_to_date(&self) -> bool {
        self.0.state().stamps == file_stamps(&self.0.files)
    }
}

impl<T> Clone for FromFiles<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // No code that could panic runs while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> CheckGuard<T> {
    fn take(shared: &Arc<Shared<T>>) -> Option<Self> {
        let mut state = shared.state();
        let now = Moment::now(&SystemClock);
        if state.is_checking || now.monotonic_since(state.checked_at) < INTERVAL {
            return None;
        }
        (state.checked_at, state.is_checking) = (now, true);
        Some(Self { shared: Arc::clone(shared), before: state.stamps.clone() })
    }

    fn check_files(self) {
        let stamps = file_stamps(&self.shared.files);
        if stamps == self.before {
            return;
        }
        let previous = self.shared.state().value.clone();
        match (self.shared.make)(Some(&previous)) {
            Ok(value) => {
                let mut state = self.shared.state();
                (state.value, state.stamps) = (value, stamps);
                drop(state);
                (self.shared.report)(Ok(()));
            }
            Err(problems) => (self.shared.report)(Err(&problems)),
        }
    }
}

impl<T> Drop for CheckGuard<T> {
    fn drop(&mut self) {
        self.shared.state().is_checking = false;
    }
}

fn file_stamps(files: &[PathBuf]) -> Vec<Option<FileStamp>> {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::clock::tests::before_now;

    #[test]
    fn outside_of_a_runtime_files_are_checked_synchronously() {
        let none = std::env::temp_dir().join(format!("from-files-none-{}", std::process::id()));
        let value = FromFiles::new([none], |_| Ok(()), |_| {}).unwrap();
        // Pretends that the file was there.
        value.pretend_changed_since(before_now(INTERVAL));
        let seen_after = |age| {
            value.0.state().checked_at = before_now(age);
            assert!(value.clone().current().now_or_never().is_some());
            value.0.state().stamps.clone()
        };
        assert_ne!(seen_after(INTERVAL / 2), [None]);
        assert_eq!(seen_after(INTERVAL), [None]);
        assert!(!value.0.state().is_checking);
    }
}
