//! An HTTP transport that is rebuilt when its files change.

use std::{
    fmt,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tower::ServiceExt as _;
use tower_service::Service;

use super::{error::TransportError, http_transport::HttpTransport};
use crate::{error::config::ConfigError, refresh::from_files::FromFiles, telemetry::events};

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
pub struct RenewedTransport(FromFiles<HttpTransport>);

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
        let make = move |previous: Option<&HttpTransport>| {
            let transport = make()?;
            // A system that is being updated may lack its certificates for a moment.
            if transport.lacks_authorities && previous.is_some_and(|it| !it.lacks_authorities) {
                let problem = "the system has no certificates of authorities";
                return Err(ConfigError::of("client", problem));
            }
            Ok(transport)
        };
        FromFiles::new(files, make, events::transport_renewed).map(Self)
    }
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
        let current = self.0.clone().current();
        Box::pin(async move { current.await.service.oneshot(request).await })
    }
}

impl fmt::Debug for RenewedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewedTransport").field("files", &self.0.files()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tower::service_fn;

    use super::*;
    use crate::{clock::tests::before_now, refresh::from_files::INTERVAL};

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
            shared.pretend_changed_since(before_now(INTERVAL));
            let current = shared.clone().current().now_or_never().unwrap();
            assert_eq!(current.lacks_authorities, expected, "{first} {later}");
            assert_eq!(shared.is_up_to_date(), first || !later, "it is tried again");
        }
    }
}
