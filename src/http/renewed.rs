//! A transport that is made again when the files it was made from change.

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
use tower::ServiceExt as _;
use tower_service::Service;

use super::{HttpTransport, TransportError};
use crate::{
    clock::{Moment, SystemClock},
    error::ConfigError,
    telemetry,
};

/// The files are looked at no more often.
const INTERVAL: Duration = Duration::from_secs(60);

/// An [`HttpTransport`] that is made again when a file has changed: a client certificate that was renewed
/// is then shown without a restart.
///
/// A request that comes a minute or more after the files were last looked at has them looked at: at when
/// they were changed, and how long they are. If one differs, the transport is made again, which takes what
/// reading them and setting up TLS takes; the requests that come meanwhile, and those under way, use the one
/// before. Where it can't be made, because a certificate is there already and its key is not for example,
/// the one before goes on, and a minute later it is tried again.
///
/// ```no_run
/// use tower_introspect::{
///     ConfigError,
///     http::{HttpTransport, RenewedTransport, ReqwestTransport},
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
///     let identity = reqwest::Identity::from_pem(&pem).map_err(|_| wrong("it is none".into()))?;
///     let builder = ReqwestTransport::builder().identity(identity);
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
/// Clones share it.
#[derive(Clone)]
pub struct RenewedTransport(Arc<Inner>);

struct Inner {
    files: Vec<PathBuf>,
    make: Box<Make>,
    state: Mutex<State>,
}

type Make = dyn Fn() -> Result<HttpTransport, ConfigError> + Send + Sync;

struct State {
    transport: HttpTransport,
    /// The files when the transport was made, or before.
    seen: Vec<Option<Seen>>,
    looked: Moment,
}

/// When a file was changed, and its length.
type Seen = (SystemTime, u64);

impl RenewedTransport {
    /// Makes a transport, and makes it again when one of `files` has changed.
    ///
    /// `make` is called where requests are sent: it may read files, but must not wait for the network.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use tower_introspect::http::{HttpTransport, RenewedTransport};
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
    /// Those of `make`, the first time. What is wrong later is an event (`transport could not be made
    /// again`).
    pub fn new<P, F>(files: impl IntoIterator<Item = P>, make: F) -> Result<Self, ConfigError>
    where
        P: Into<PathBuf>,
        F: Fn() -> Result<HttpTransport, ConfigError> + Send + Sync + 'static,
    {
        let files: Vec<PathBuf> = files.into_iter().map(Into::into).collect();
        // Before they are read: what changes after is found to have changed.
        let seen = look(&files);
        let state = State { transport: make()?, seen, looked: Moment::now(&SystemClock) };
        Ok(Self(Arc::new(Inner { files, make: Box::new(make), state: Mutex::new(state) })))
    }
}

impl Inner {
    fn current(&self) -> HttpTransport {
        let before = {
            let mut state = self.state();
            let now = Moment::now(&SystemClock);
            if now.monotonic_since(state.looked) < INTERVAL {
                return state.transport.clone();
            }
            state.looked = now;
            state.seen.clone()
        };
        // Nobody else comes here within the interval, so nobody waits.
        let seen = look(&self.files);
        if seen != before {
            match (self.make)() {
                Ok(transport) => {
                    let mut state = self.state();
                    state.transport = transport;
                    state.seen = seen;
                    telemetry::transport_renewed();
                }
                Err(problems) => telemetry::transport_not_renewed(&problems),
            }
        }
        self.state().transport.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic is done while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(files: &[PathBuf]) -> Vec<Option<Seen>> {
    let look = |file: &PathBuf| {
        let about = std::fs::metadata(file).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    files.iter().map(look).collect()
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
        Box::pin(self.0.current().0.oneshot(request))
    }
}

impl fmt::Debug for RenewedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewedTransport").field("files", &self.0.files).finish_non_exhaustive()
    }
}
