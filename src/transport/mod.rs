//! How authorization servers are reached.
//!
//! [`HttpTransport`] is any [`tower::Service`] of an `http::Request<Bytes>`; the feature `reqwest`
//! brings one. A request carries a [`BodyLimit`] in its extensions, which a transport honours
//! while it reads; an answer over the limit is refused in any case. A transport follows no
//! redirect: the body of a request may hold a token.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tower::service_fn;
//! use tower_introspect::http::HttpTransport;
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

/// The most bytes of a response body to read, as an extension of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit(usize);

impl BodyLimit {
    /// A limit of this many bytes.
    ///
    /// ```
    /// use tower_introspect::http::BodyLimit;
    ///
    /// assert_eq!(BodyLimit::new(256 * 1024).bytes(), 262_144);
    /// ```
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }
}

/// A way to send HTTP requests to authorization servers.
///
/// Clones share the connections of the service, if that does so.
#[derive(Clone)]
pub struct HttpTransport(BoxCloneSyncService<Request<Bytes>, Response<Bytes>, TransportError>);

impl HttpTransport {
    /// Sends requests through `service`. See the [module docs](self) for an example.
    ///
    /// Errors that are no [`TransportError`] count as [`TransportErrorKind::Other`].
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

    /// `given`, or the default, if there is one.
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

    /// Sends one request, within `timeout` and with at most `limit` bytes of answer.
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

/// Why no response was had.
#[derive(Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    source: Option<BoxError>,
}

/// The ways in which sending a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No connection could be made: the server has seen nothing of the request.
    Connect,
    /// Something else.
    Other,
    /// No complete answer in time.
    Timeout,
    /// The answer is longer than its [`BodyLimit`].
    TooLarge,
}

impl TransportError {
    /// An error of this kind.
    #[must_use]
    pub const fn new(kind: TransportErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Adds the cause. It must show neither the request's body nor its headers.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What happened.
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
    /// An answer that is too long is out of protocol; all else means that there was none.
    fn from(error: TransportError) -> Self {
        let kind = match error.kind {
            TransportErrorKind::TooLarge => ErrorKind::BadResponse,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind).with_source(error)
    }
}
