//! Sends HTTP requests to authorization servers.
//!
//! [`HttpTransport`] wraps any [`tower::Service`] of an `http::Request<Bytes>`. The feature
//! `reqwest` provides one. A request carries a [`BodyLimit`] in its extensions, at which a
//! transport stops reading. A longer response is refused in any case.
//!
//! # Security
//!
//! A transport must not follow redirects, because the body of a request may hold a token.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tower::service_fn;
//! use tower_introspect::transport::HttpTransport;
//!
//! let transport = HttpTransport::new(service_fn(async |_: Request<Bytes>| {
//!     Ok::<_, std::convert::Infallible>(Response::new(Bytes::from_static(b"{\"active\":false}")))
//! }));
//! # let _ = transport;
//! ```

#[cfg(any(feature = "introspection", all(feature = "jwt", feature = "_crypto")))]
pub(crate) mod answer;
#[cfg(any(feature = "introspection", all(feature = "jwt", feature = "_crypto")))]
pub(crate) mod discovery;
pub(crate) mod endpoint;
#[cfg(any(feature = "introspection", all(feature = "jwt", feature = "_crypto")))]
pub(crate) mod renewed;
#[cfg(feature = "reqwest")]
pub(crate) mod reqwest;
pub(crate) mod upstream;

use std::{error::Error, fmt, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tower::{
    ServiceExt,
    util::{BoxCloneSyncService, MapErrLayer},
};
use tower_layer::Layer;
use tower_service::Service;

pub use self::renewed::RenewedTransport;
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub use self::reqwest::ReqwestTransport;
use crate::error::{BoxError, config::ConfigError, kind::ErrorKind, refusal::VerifyError};

/// The maximum length of a response body in bytes, as an extension of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit(usize);

impl BodyLimit {
    /// Creates a limit of this many bytes.
    ///
    /// ```
    /// use tower_introspect::transport::BodyLimit;
    ///
    /// assert_eq!(BodyLimit::new(256 * 1024).bytes(), 262_144);
    /// ```
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }
}

/// A client that sends HTTP requests to authorization servers.
///
/// Clones share the connections of the wrapped service if its own clones do.
#[derive(Clone)]
pub struct HttpTransport(BoxCloneSyncService<Request<Bytes>, Response<Bytes>, TransportError>);

impl HttpTransport {
    /// Creates a transport that sends requests through `service`.
    ///
    /// An error of another type than [`TransportError`] counts as [`TransportErrorKind::Other`].
    /// See the [module docs](self) for an example.
    #[must_use]
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<Bytes>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError> + 'static,
        S::Future: Send + 'static,
    {
        let service = MapErrLayer::new(|error: S::Error| TransportError::from_box(error.into()))
            .layer(service);
        Self(BoxCloneSyncService::new(service))
    }

    /// Returns `given`, or else the default transport. Adds to `problems` if there is none.
    #[cfg(any(feature = "introspection", all(feature = "jwt", feature = "_crypto")))]
    pub(crate) fn or_default(given: Option<&Self>, problems: &mut ConfigError) -> Option<Self> {
        if let Some(given) = given {
            return Some(given.clone());
        }
        #[cfg(feature = "reqwest")]
        return Self::reqwest().map_err(|problem| problems.merge("transport", problem)).ok();
        #[cfg(not(feature = "reqwest"))]
        {
            problems.push("transport", "there is none; the feature `reqwest` brings one");
            None
        }
    }

    /// Sends one request, and waits at most `timeout` for a body of at most `limit` bytes.
    pub(crate) async fn send(
        &self,
        mut request: Request<Bytes>,
        timeout: Duration,
        limit: usize,
    ) -> Result<Response<Bytes>, TransportError> {
        request.extensions_mut().insert(BodyLimit(limit));
        let answer = tokio::time::timeout(timeout, self.0.clone().oneshot(request)).await;
        let response = answer.map_err(|_| TransportError::new(TransportErrorKind::Timeout))??;
        if response.body().len() > limit {
            return Err(TransportError::new(TransportErrorKind::TooLarge));
        }
        Ok(response)
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").finish_non_exhaustive()
    }
}

/// The error of a request that got no usable response.
#[derive(Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    source: Option<BoxError>,
}

/// The reason for a [`TransportError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No connection was made, so the server has received nothing of the request.
    Connect,
    /// The request failed for another reason.
    Other,
    /// No complete response arrived in time.
    Timeout,
    /// The response is longer than its [`BodyLimit`].
    TooLarge,
}

impl TransportError {
    /// Creates an error of this kind.
    #[must_use]
    pub const fn new(kind: TransportErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Adds the cause.
    ///
    /// # Security
    ///
    /// The cause must show neither the body nor the headers of the request.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the reason for the error.
    #[must_use]
    pub const fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    fn from_box(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => *own,
            Err(foreign) => Self::new(TransportErrorKind::Other).with_source(foreign),
        }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            TransportErrorKind::Connect => "no connection could be made",
            TransportErrorKind::Other => "the request failed",
            TransportErrorKind::Timeout => "no answer in time",
            TransportErrorKind::TooLarge => "the answer is too long",
        })
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<TransportError> for VerifyError {
    /// Maps a response that is too long to `BadResponse`, and any other error to `Unavailable`.
    fn from(error: TransportError) -> Self {
        let kind = match error.kind {
            TransportErrorKind::TooLarge => ErrorKind::BadResponse,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind).with_source(error)
    }
}
