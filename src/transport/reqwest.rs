//! An HTTP transport based on `reqwest`.

use std::{
    error::Error,
    fmt,
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, uri::Scheme};
use reqwest::{Client, ClientBuilder, redirect, retry};
use tower_service::Service;

use super::{
    body_limit::BodyLimit,
    closed::is_closed,
    error::{TransportError, TransportErrorKind},
    http_transport::HttpTransport,
    new_connection::NewConnection,
};
use crate::error::{chain::Chain, config::ConfigError};

/// A service for an [`HttpTransport`] that uses a pooled `reqwest` client, and another one without
/// a pool for requests that want a [`NewConnection`].
///
/// It never follows redirects and never sends a request twice, whatever the builder says. It keeps
/// no cookies unless the builder adds a cookie store. It reads a body in chunks and stops at the [`BodyLimit`] of the request, or
/// at 1 MiB without one. It passes on the extensions of a response, such as the certificate of the
/// server ([`TlsInfo`](::reqwest::tls::TlsInfo)) if the builder asks for it. Clones share the
/// connections.
///
/// Set a private certificate authority, a client certificate (RFC 8705 §2) or a proxy on the
/// builder. Files are read once: see [`RenewedTransport`](super::RenewedTransport) for a
/// certificate that is renewed.
///
/// The certificates of the system are read when the transport is created. If the system has none,
/// as in many container images, the transport is created all the same, and requests to `https` URLs
/// fail with [`TransportErrorKind::Connect`]. With authorities of its own (`tls_certs_only`) a
/// transport does not need those of the system.
///
/// ```no_run
/// use tower_introspect::transport::{HttpTransport, ReqwestTransport};
///
/// let authority = reqwest::Certificate::from_pem(&std::fs::read("ca.pem")?)?;
/// let identity = reqwest::Identity::from_pem(&std::fs::read("client.pem")?)?;
/// let transport = ReqwestTransport::from_builder(|| {
///     ReqwestTransport::builder()
///         .tls_certs_only([authority.clone()])
///         .identity(identity.clone())
/// })?;
/// let transport = HttpTransport::from(transport);
/// # let _ = transport;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ReqwestTransport {
    pooled: Client,
    /// A client that keeps no idle connections, so that each request has a new one.
    unpooled: Client,
    /// The reason why no server can be verified, if the system has no certificates.
    no_authorities: Option<NoAuthorities>,
}

/// The system has no certificates of authorities. Clones share the text.
#[derive(Clone, Debug)]
struct NoAuthorities(Arc<str>);

impl fmt::Display for NoAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no server can be verified without certificates of authorities: {}", self.0)
    }
}

impl Error for NoAuthorities {}

impl ReqwestTransport {
    /// Creates a transport with the defaults of [`builder`](Self::builder).
    ///
    /// ```
    /// use tower_introspect::transport::{HttpTransport, ReqwestTransport};
    ///
    /// let transport = HttpTransport::from(ReqwestTransport::new()?);
    /// # let _ = transport;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if TLS can't be set up.
    pub fn new() -> Result<Self, ConfigError> {
        Self::from_builder(Self::builder)
    }

    /// Returns a client builder with the defaults of this crate.
    ///
    /// They are a user agent, a connect timeout of 1 s, and a timeout of 90 s for idle connections.
    ///
    /// See [`ReqwestTransport`] for an example.
    pub fn builder() -> ClientBuilder {
        Client::builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
    }

    /// Creates a transport from a client builder.
    ///
    /// `builder` is called twice, because a client builder makes one client only. It must return
    /// the same settings each time. The transport takes the builder, not the client, so that it can
    /// turn off redirects, retries and decompression. See [`ReqwestTransport`] for an example.
    ///
    /// # Errors
    ///
    /// Returns an error if the client can't be built.
    ///
    /// # Security
    ///
    /// The responses decide which requests are admitted. Never turn off the verification of
    /// certificates.
    pub fn from_builder(builder: impl Fn() -> ClientBuilder) -> Result<Self, ConfigError> {
        let error = match build_both(&builder) {
            Ok((pooled, unpooled)) => return Ok(Self { pooled, unpooled, no_authorities: None }),
            // `reqwest` reports problems with certificates as causes.
            Err(error) => Chain(&error.without_url()).to_string(),
        };
        // Trusts nobody, unless other settings are wrong as well.
        let trusting_none = || build_both(|| builder().tls_certs_only([])).ok();
        let built = if system_has_authorities() { None } else { trusting_none() };
        let (pooled, unpooled) = built.ok_or_else(|| ConfigError::of("client", &error))?;
        Ok(Self { pooled, unpooled, no_authorities: Some(NoAuthorities(error.into())) })
    }
}

/// Returns false if a client without any settings can't be built for lack of authorities.
fn system_has_authorities() -> bool {
    Client::builder().no_proxy().build().is_ok()
}

fn build_both(builder: impl Fn() -> ClientBuilder) -> Result<(Client, Client), ::reqwest::Error> {
    Ok((build(builder())?, build(builder().pool_max_idle_per_host(0))?))
}

fn build(builder: ClientBuilder) -> Result<Client, ::reqwest::Error> {
    builder
        // RFC 9110 §15.4.8: 307 and 308 send the body again, here a token and credentials.
        .redirect(redirect::Policy::none())
        // `HttpTransport` retries, once and over a new connection.
        .retry(retry::never())
        // A few bytes can unpack to any size, and no response here is large enough to need it.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .build()
}

impl HttpTransport {
    /// Creates a transport from a pooled [`ReqwestTransport`] with safe defaults.
    ///
    /// ```
    /// use tower_introspect::transport::HttpTransport;
    ///
    /// let transport = HttpTransport::reqwest()?;
    /// # let _ = transport;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if TLS can't be set up.
    #[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
    pub fn reqwest() -> Result<Self, ConfigError> {
        ReqwestTransport::new().map(Self::from)
    }
}

impl From<ReqwestTransport> for HttpTransport {
    fn from(transport: ReqwestTransport) -> Self {
        let lacks_authorities = transport.no_authorities.is_some();
        Self { lacks_authorities, ..Self::new(transport) }
    }
}

impl Service<Request<Bytes>> for ReqwestTransport {
    type Response = Response<Bytes>;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, TransportError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let is_https = request.uri().scheme() == Some(&Scheme::HTTPS);
        if let Some(problem) = self.no_authorities.as_ref().filter(|_| is_https) {
            let error = TransportError::new(TransportErrorKind::Connect);
            return Box::pin(ready(Err(error.with_source(problem.clone()))));
        }
        let wants_new = request.extensions().get::<NewConnection>().is_some();
        let client = if wants_new { &self.unpooled } else { &self.pooled }.clone();
        Box::pin(async move { exchange(&client, request).await })
    }
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransport").finish_non_exhaustive()
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The limit in bytes of a request without a [`BodyLimit`].
const DEFAULT_LIMIT: usize = 1024 * 1024;

async fn exchange(
    client: &Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, TransportError> {
    let limit = request.extensions().get().copied().map_or(DEFAULT_LIMIT, BodyLimit::bytes);
    let request = ::reqwest::Request::try_from(request).map_err(failed)?;
    let mut response = client.execute(request).await.map_err(failed_before_response)?;
    let (status, version) = (response.status(), response.version());
    let headers = std::mem::take(response.headers_mut());
    let extensions = std::mem::take(response.extensions_mut());
    let body = read(response, limit).await?;

    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    *response.extensions_mut() = extensions;
    Ok(response)
}

async fn read(mut response: ::reqwest::Response, limit: usize) -> Result<Bytes, TransportError> {
    let too_large = || TransportError::new(TransportErrorKind::TooLarge);
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).map_or(true, |length| length > limit) {
        return Err(too_large());
    }
    // Most responses are one chunk, which needs no copy.
    let first = response.chunk().await.map_err(failed)?.unwrap_or_default();
    if first.len() > limit {
        return Err(too_large());
    }
    let Some(second) = response.chunk().await.map_err(failed)? else { return Ok(first) };

    let mut body = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(piece) = next {
        if piece.len() > limit - body.len() {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
        next = response.chunk().await.map_err(failed)?;
    }
    Ok(body.freeze())
}

/// Converts an error that occurred before the response began.
fn failed_before_response(error: ::reqwest::Error) -> TransportError {
    let is_closed = is_closed(&error);
    match failed(error) {
        error if is_closed && error.kind() == TransportErrorKind::Other => {
            error.with_kind(TransportErrorKind::Closed)
        }
        error => error,
    }
}

/// Converts an error without its URL, whose query may hold data that must not be logged.
fn failed(error: ::reqwest::Error) -> TransportError {
    // A connect timeout is both kinds. `Connect` says that the server has not seen the request.
    let kind = if error.is_connect() {
        TransportErrorKind::Connect
    } else if error.is_timeout() {
        TransportErrorKind::Timeout
    } else {
        TransportErrorKind::Other
    };
    TransportError::new(kind).with_source(error.without_url())
}
