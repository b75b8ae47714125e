//! Sends requests to one transmitter.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LANGUAGE, CONTENT_TYPE},
};

use super::{
    access::TransmitterAuth,
    configuration::{MetadataSource, TransmitterMetadata},
    error::{TransmitterError, TransmitterErrorKind},
    request::{Call, successful},
    via::Via,
};
use crate::{
    clock::Clock,
    credentials::token::Token,
    error::config::ConfigError,
    refresh::refresher::Refresher,
    transport::{
        endpoint::{Endpoint, EndpointError},
        http_transport::HttpTransport,
    },
};

/// The time limit for an access token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Sends authorized requests to one transmitter. Clones share its metadata and the access token.
#[derive(Clone)]
pub(crate) struct TransmitterClient(Arc<Parts>);

struct Parts {
    issuer: Arc<str>,
    auth: TransmitterAuth,
    transport: HttpTransport,
    loopback_http: bool,
    clock: Arc<dyn Clock>,
    metadata: Refresher<MetadataSource>,
}

impl TransmitterClient {
    /// Creates a client for the transmitter with this issuer. Sends nothing.
    pub(crate) fn new(
        issuer: &str,
        auth: TransmitterAuth,
        transport: HttpTransport,
        loopback_http: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        let mut problems = ConfigError::new();
        auth.check(loopback_http, &mut problems);
        let source =
            MetadataSource::new(issuer, transport.clone(), loopback_http, Arc::clone(&clock));
        let source = source.map_err(|problem| problems.push("issuer", problem));
        let Ok(source) = source else { return Err(problems) };
        let metadata = Refresher::new(source, Arc::clone(&clock));
        let issuer = issuer.into();
        problems.or_ok(Self(Arc::new(Parts {
            issuer,
            auth,
            transport,
            loopback_http,
            clock,
            metadata,
        })))
    }

    pub(crate) fn issuer(&self) -> &Arc<str> {
        &self.0.issuer
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Returns the metadata of the transmitter, and fetches it first if there is none.
    pub(crate) async fn metadata(&self) -> Result<Arc<TransmitterMetadata>, TransmitterError> {
        Ok(self.0.metadata.get().await?)
    }

    /// Parses a URL to which this client may send its access token.
    pub(super) fn endpoint(&self, url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(url, self.0.loopback_http)
    }

    /// Sends a request, and returns a response with a 2xx status.
    ///
    /// If the transmitter rejects the access token, the request is sent once more with another one.
    pub(super) async fn send(&self, call: &Call) -> Result<Response<Bytes>, TransmitterError> {
        let token = self.token(None).await?;
        let mut response = self.send_with(call, token.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(another) = self.token(token.as_ref()).await?
        {
            response = self.send_with(call, Some(&another)).await?;
        }
        successful(response, self.0.clock.now())
    }

    async fn token(&self, rejected: Option<&Token>) -> Result<Option<Token>, TransmitterError> {
        let Parts { auth, transport, loopback_http, clock, .. } = &*self.0;
        let via = Via { transport, loopback_http: *loopback_http, clock: &**clock };
        let token = tokio::time::timeout(TOKEN_TIMEOUT, auth.token(rejected, via)).await;
        token.unwrap_or_else(|_| {
            let late = TransmitterError::new(TransmitterErrorKind::Unavailable);
            Err(late.with_context("no access token in time"))
        })
    }

    async fn send_with(
        &self,
        call: &Call,
        token: Option<&Token>,
    ) -> Result<Response<Bytes>, TransmitterError> {
        let mut is_sent = false;
        let make = || {
            // The transport asks for a second request if it can't tell what became of the first.
            if std::mem::replace(&mut is_sent, true) && call.once {
                let lost = TransmitterError::new(TransmitterErrorKind::Unavailable);
                return Err(lost.with_context("the connection was closed before the response"));
            }
            http_request(call, token)
        };
        self.0.transport.send(make, call.timeout, call.limit).await
    }
}

fn http_request(call: &Call, token: Option<&Token>) -> Result<Request<Bytes>, TransmitterError> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call.uri.clone();
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.secret_str()));
        // Can't fail: the grammar of tokens allows only ASCII.
        let mut value =
            value.map_err(|_| TransmitterError::new(TransmitterErrorKind::Unauthorized))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    if let Some(body) = &call.body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if call.has_descriptions {
            headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        }
        *request.body_mut() = body.clone();
    }
    Ok(request)
}

impl fmt::Debug for TransmitterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransmitterClient").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}
