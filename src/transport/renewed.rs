//! An HTTP transport that is rebuilt when its files change.

use std::{
    fmt,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response};
use tokio::runtime::Handle;
use tower::ServiceExt as _;
use tower_service::Service;

use super::{error::TransportError, http_transport::HttpTransport};
use crate::{
    clock::{Moment, SystemClock},
    error::config::ConfigError,
    telemetry::events,
};

/// The minimum time between two checks of the files.
const INTERVAL: Duration = Duration::from_secs(60);

/// The longest time that a request waits for a check of the files.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// An [`HttpTransport`] that is rebuilt when one of its files changes.
///
/// A renewed client certificate is then used without a restart.
///
/// A request that comes a minute or more after the last check starts a check of the files: their
/// modification times and their lengths. If one differs, the transport is rebuilt. If that fails,
/// for example because the new certificate is there but its key is not, the previous transport
/// stays in use. The next attempt follows a minute later.
///
/// That request waits for the check, but for at most a second. Requests that come meanwhile, and
/// those under way, use the previous transport. Files are read and TLS is set up on the threads
/// that Tokio keeps for blocking work, so a disk that hangs holds up nothing else. Outside of a
/// Tokio runtime the check runs in the calling thread.
///
/// ```no_run
/// use tower_introspect::{
///     ConfigError,
///     transport::{HttpTransport, RenewedTransport, ReqwestTransport},
/// };
///
/// const FILE: &str = "/run/secrets/api.pem"; // the certificate and its key
///
/// fn make() -> Result<HttpTransport, ConfigError> {
///     let wrong = |problem: String| {
///         let mut problems = ConfigError::new();
///         problems.push("certificate", problem);
///         problems
///     };
///     let pem = std::fs::read(FILE).map_err(|error| wrong(error.to_string()))?;
///     let identity = reqwest::Identity::from_pem(&pem);
///     let identity = identity.map_err(|_| wrong("not a PEM identity".into()))?;
///     let builder = || ReqwestTransport::builder().identity(identity.clone());
///     ReqwestTransport::from_builder(builder).map(HttpTransport::from)
/// }
///
/// let transport = HttpTransport::from(RenewedTransport::new([FILE], make)?);
/// # let _ = transport;
/// # Ok::<(), ConfigError>(())
/// ```
///
/// # Clone
///
/// Clones share one transport.
///
/// # Cancellation
///
/// A check of the files continues if the request that started it is dropped.
#[derive(Clone)]
pub struct RenewedTransport(Arc<RenewedState>);

struct RenewedState {
    files: Vec<PathBuf>,
    make: Box<Make>,
    state: Mutex<State>,
}

type Make = dyn Fn() -> Result<HttpTransport, ConfigError> + Send + Sync;

struct State {
    transport: HttpTransport,
    /// The state of the files when the transport was made, or just before.
    stamps: Vec<Option<FileStamp>>,
    checked_at: Moment,
    is_checking: bool,
}

/// The right to check the files. Only one caller has it at a time, however long the check takes.
struct CheckGuard {
    shared: Arc<RenewedState>,
    before: Vec<Option<FileStamp>>,
}

/// The modification time of a file and its length in bytes.
type FileStamp = (SystemTime, u64);

impl RenewedTransport {
    /// Creates a transport with `make`, and calls `make` again when one of `files` has changed.
    ///
    /// `make` may read files, but must not wait for the network. If a later call fails or panics,
    /// the previous transport stays in use.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use tower_introspect::transport::{HttpTransport, RenewedTransport};
    ///
    /// let transport = RenewedTransport::new(["/run/secrets/api.pem"], || {
    ///     Ok(HttpTransport::new(tower::service_fn(async |_: Request<Bytes>| {
    ///         Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
    ///     })))
    /// })?;
    /// # let _ = transport;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the first call of `make`. Later errors are reported as the event
    /// `transport could not be rebuilt`.
    pub fn new<P, F>(files: impl IntoIterator<Item = P>, make: F) -> Result<Self, ConfigError>
    where
        P: Into<PathBuf>,
        F: Fn() -> Result<HttpTransport, ConfigError> + Send + Sync + 'static,
    {
        let files: Vec<PathBuf> = files.into_iter().map(Into::into).collect();
        // Taken before `make` reads the files, so that any later change is noticed.
        let stamps = file_stamps(&files);
        let checked_at = Moment::now(&SystemClock);
        let state = State { transport: make()?, stamps, checked_at, is_checking: false };
        Ok(Self(Arc::new(RenewedState { files, make: Box::new(make), state: Mutex::new(state) })))
    }
}

impl RenewedState {
    /// Returns the transport to use now, after a check of the files if one is due.
    async fn current(this: Arc<Self>) -> HttpTransport {
        if let Some(guard) = CheckGuard::take(&this) {
            match Handle::try_current() {
                Ok(runtime) => {
                    // The check continues after the timeout.
                    let check = runtime.spawn_blocking(move || guard.check_files());
                    let _ = tokio::time::timeout(MAX_WAIT, check).await;
                }
                Err(_) => guard.check_files(),
            }
        }
        this.state().transport.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that could panic runs while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckGuard {
    fn take(shared: &Arc<RenewedState>) -> Option<Self> {
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
        match self.make() {
            Ok(transport) => {
                let mut state = self.shared.state();
                (state.transport, state.stamps) = (transport, stamps);
                drop(state);
                events::transport_renewed();
            }
            Err(problems) => events::transport_not_renewed(&problems),
        }
    }
}

impl CheckGuard {
    /// Makes another transport, unless the certificates of the system are missing by now. A system
    /// that is being updated may lack them for a moment.
    fn make(&self) -> Result<HttpTransport, ConfigError> {
        let transport = (self.shared.make)()?;
        if transport.lacks_authorities && !self.shared.state().transport.lacks_authorities {
            return Err(ConfigError::of("client", "the system has no certificates of authorities"));
        }
        Ok(transport)
    }
}

impl Drop for CheckGuard {
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

impl From<RenewedTransport> for HttpTransport {
    fn from(transport: RenewedTransport) -> Self {
        Self::new(transport)
    }
}

impl Service<Request<Bytes>> for RenewedTransport {
    type Response = Response<Bytes>;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, TransportError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let current = RenewedState::current(Arc::clone(&self.0));
        Box::pin(async move { current.await.service.oneshot(request).await })
    }
}

impl fmt::Debug for RenewedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewedTransport").field("files", &self.0.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tower::service_fn;

    use super::*;
    use crate::clock::tests::before_now;

    #[test]
    fn transport_that_can_verify_servers_is_not_replaced_by_one_that_cannot() {
        let lacks = |lacks_authorities| {
            let answer = async |_: Request<Bytes>| Err::<Response<Bytes>, _>(std::fmt::Error);
            HttpTransport { lacks_authorities, ..HttpTransport::new(service_fn(answer)) }
        };
        for (first, later, expected) in
            [(false, true, false), (true, true, true), (true, false, false), (false, false, false)]
        {
            let made = std::sync::atomic::AtomicBool::new(false);
            let transport = RenewedTransport::new(["/nonexistent"], move || {
                let is_first = !made.swap(true, std::sync::atomic::Ordering::Relaxed);
                Ok(lacks(if is_first { first } else { later }))
            });
            let RenewedTransport(shared) = transport.unwrap();
            shared.state().stamps = vec![Some((SystemTime::UNIX_EPOCH, 1))];
            shared.state().checked_at = before_now(INTERVAL);
            assert!(RenewedState::current(Arc::clone(&shared)).now_or_never().is_some());
            let state = shared.state();
            assert_eq!(state.transport.lacks_authorities, expected, "{first} {later}");
            assert_eq!(state.stamps == [None], first || !later, "it is tried again");
        }
    }

    #[test]
    fn outside_of_a_runtime_files_are_checked_synchronously() {
        let none = std::env::temp_dir().join(format!("renewed-none-{}", std::process::id()));
        let transport = RenewedTransport::new([none], || {
            let answer = async |_: Request<Bytes>| Err::<Response<Bytes>, _>(std::fmt::Error);
            Ok(HttpTransport::new(service_fn(answer)))
        });
        let RenewedTransport(shared) = transport.unwrap();
        // Pretends that the file was there.
        shared.state().stamps = vec![Some((SystemTime::UNIX_EPOCH, 1))];
        let seen_after = |age| {
            shared.state().checked_at = before_now(age);
            let current = RenewedState::current(Arc::clone(&shared)).now_or_never();
            assert!(current.is_some());
            shared.state().stamps.clone()
        };
        assert_ne!(seen_after(INTERVAL / 2), [None]);
        assert_eq!(seen_after(INTERVAL), [None]);
        assert!(!shared.state().is_checking);
    }
}
