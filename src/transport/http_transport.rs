//! The transport: any service that sends HTTP requests.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use tower::{
    ServiceExt as _,
    util::{BoxCloneSyncService, MapErrLayer},
};
use tower_layer::Layer as _;
use tower_service::Service;

use super::{
    body_limit::BodyLimit,
    error::{TransportError, TransportErrorKind},
    new_connection::NewConnection,
};
use crate::error::{boxed::BoxError, config::ConfigError};

/// A client that sends HTTP requests to authorization servers.
///
/// Clones share the connections of the wrapped service if its own clones do.
#[derive(Clone)]
pub struct HttpTransport {
    pub(super) service: BoxCloneSyncService<Request<Bytes>, Response<Bytes>, TransportError>,
    /// True if it can verify no server, because the system had no certificates of authorities.
    pub(super) lacks_authorities: bool,
}

impl HttpTransport {
    /// Creates a transport that sends requests through `service`.
    ///
    /// An error of another type than [`TransportError`] counts as [`TransportErrorKind::Other`].
    /// After an error of the kind [`Closed`](TransportErrorKind::Closed) the service is called once
    /// more.
    /// See the [module docs](super) for an example.
    #[must_use]
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<Bytes>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError> + 'static,
        S::Future: Send + 'static,
    {
        let service = MapErrLayer::new(|error: S::Error| TransportError::from_box(error.into()))
            .layer(service);
        Self { service: BoxCloneSyncService::new(service), lacks_authorities: false }
    }

    /// Returns `given`, or else the default transport. Adds to `problems` if there is none.
    #[cfg(any(feature = "introspection", feature = "jwt"))]
    pub(crate) fn or_default(given: Option<&Self>, problems: &mut ConfigError) -> Option<Self> {
        if let Some(given) = given {
            return Some(given.clone());
        }
        #[cfg(feature = "reqwest")]
        return Self::reqwest().map_err(|problem| problems.merge("transport", problem)).ok();
        #[cfg(not(feature = "reqwest"))]
        {
            problems
                .push("transport", "no transport is set, and the feature `reqwest` is disabled");
            None
        }
    }

    /// Sends the request that `make` returns, and waits at most `timeout` for a body of at most
    /// `limit` bytes.
    ///
    /// If the connection was closed before a response began, `make` is called for another request,
    /// which is sent over a new connection within the same time. The server may have read the first
    /// one. If a second one would do harm, `make` fails.
    pub(crate) async fn send<E: From<TransportError>>(
        &self,
        mut make: impl FnMut() -> Result<Request<Bytes>, E>,
        timeout: Duration,
        limit: usize,
    ) -> Result<Response<Bytes>, E> {
        let sending = async {
            match self.send_once(make()?, limit).await {
                Err(error) if error.kind() == TransportErrorKind::Closed => {
                    let mut again = make()?;
                    again.extensions_mut().insert(NewConnection);
                    Ok(self.send_once(again, limit).await?)
                }
                outcome => Ok(outcome?),
            }
        };
        let outcome = tokio::time::timeout(timeout, sending).await;
        outcome.unwrap_or_else(|_| Err(TransportError::new(TransportErrorKind::Timeout).into()))
    }

    async fn send_once(
        &self,
        mut request: Request<Bytes>,
        limit: usize,
    ) -> Result<Response<Bytes>, TransportError> {
        request.extensions_mut().insert(BodyLimit(limit));
        // Without the field a server may choose any coding (RFC 9110 §12.5.3).
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().entry(header::ACCEPT_ENCODING).or_insert(identity);
        let response = self.service.clone().oneshot(request).await?;
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
