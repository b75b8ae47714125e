//! Fetches the metadata of an issuer (RFC 8414, OpenID Connect Discovery).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};

use super::metadata::Metadata;
use crate::{
    error::{kind::ErrorKind, refusal::VerifyError},
    refresh::{
        refresher::Refresher,
        source::{Fetched, Source, Standing},
    },
    transport::{
        answer::{self, bad, in_context},
        endpoint::{Endpoint, NotAnEndpoint},
        http_transport::HttpTransport,
        upstream::{LastCall, Upstream},
    },
};

/// The time for which metadata is fresh.
const FRESH_FOR: Duration = Duration::from_secs(60 * 60);

/// The time limit for all requests of one discovery.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum length of metadata in bytes.
const LIMIT: usize = 256 * 1024;

/// The minimum time between two fetches of metadata that seems to be wrong.
const DOUBT_INTERVAL: Duration = Duration::from_secs(60);

/// The metadata of one issuer, fetched when it is first needed. Clones share it.
///
/// The document of RFC 8414 is requested first. If it is not usable, the document of OpenID Connect
/// is requested, unless a second request would only make the failure worse (no response, 429, 503).
#[derive(Clone)]
pub(crate) struct Discovery {
    refresher: Refresher<WellKnown>,
    upstream: Upstream,
}

impl Discovery {
    pub(crate) fn new(
        issuer: &str,
        transport: HttpTransport,
        loopback_http: bool,
        upstream: Upstream,
    ) -> Result<Self, NotAnEndpoint> {
        let documents = documents(issuer, loopback_http)?;
        let source = WellKnown {
            issuer: issuer.into(),
            documents,
            transport,
            loopback_http,
            upstream: upstream.clone(),
        };
        let refresher = Refresher::new(source, Arc::clone(upstream.clock()));
        Ok(Self { refresher, upstream })
    }

    /// Returns the metadata, and fetches it first if there is none.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Unavailable`] or [`ErrorKind::BadResponse`].
    ///
    /// # Cancellation
    ///
    /// The fetch continues.
    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, VerifyError> {
        self.refresher.get().await
    }

    /// Returns the current state of the metadata. Sends no request.
    pub(crate) fn standing(&self) -> Standing<Metadata> {
        self.refresher.standing()
    }

    /// Returns the outcome of the last discovery.
    pub(crate) fn last(&self) -> Option<LastCall> {
        self.upstream.last()
    }

    /// Starts to fetch the metadata if it is missing or stale. Never waits.
    pub(crate) fn begin(&self) {
        self.refresher.begin();
    }

    /// Starts to fetch the metadata again after an endpoint failed, which may have moved. Never
    /// waits.
    pub(crate) fn doubt(&self) {
        self.refresher.expire(DOUBT_INTERVAL);
    }
}

/// The source of the metadata of one issuer.
struct WellKnown {
    issuer: Box<str>,
    documents: [Endpoint; 2],
    transport: HttpTransport,
    loopback_http: bool,
    upstream: Upstream,
}

impl Source for WellKnown {
    type Value = Metadata;

    async fn fetch(&self, _: Option<Arc<Metadata>>) -> Result<Fetched<Metadata>, VerifyError> {
        let call = self.upstream.call();
        let metadata = tokio::time::timeout(TIMEOUT, self.first_usable()).await;
        let metadata = metadata.unwrap_or_else(|elapsed| {
            Err(VerifyError::new(ErrorKind::Unavailable).with_source(elapsed))
        });
        call.end(&metadata);
        match metadata {
            Ok(metadata) => Ok(Fetched { value: Arc::new(metadata), fresh_for: FRESH_FOR }),
            Err(error) => Err(in_context(error, format!("discovery of {}", self.issuer))),
        }
    }
}

impl WellKnown {
    async fn first_usable(&self) -> Result<Metadata, VerifyError> {
        let [first, second] = &self.documents;
        let before = match self.document(first).await {
            Ok(metadata) => return Ok(metadata),
            Err(miss) if miss.last => return Err(miss.error),
            Err(miss) => miss,
        };
        self.document(second).await.map_err(|miss| {
            // The error that says more about the problem.
            if before.weight > miss.weight { before.error } else { miss.error }
        })
    }

    async fn document(&self, url: &Endpoint) -> Result<Metadata, Miss> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url.uri().clone();
        let json = header::HeaderValue::from_static(JSON);
        request.headers_mut().insert(header::ACCEPT, json);
        let response = self
            .transport
            .send(request, TIMEOUT, LIMIT)
            .await
            .map_err(|error| Miss { error: error.into(), weight: 3, last: true })?;
        self.read(&response)
    }

    fn read(&self, response: &Response<Bytes>) -> Result<Metadata, Miss> {
        let status = response.status();
        if let Some(error) = answer::trouble(response, self.upstream.clock().now()) {
            let last =
                matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            return Err(Miss { error, weight: 3, last });
        }
        if status != StatusCode::OK {
            let error = bad(format!("there is no metadata: it answered {}", status.as_u16()));
            return Err(Miss { error, weight: 1, last: false });
        }
        let unusable = |error| Miss { error, weight: 2, last: false };
        if !answer::is_media_type(response.headers(), JSON) {
            return Err(unusable(bad("the metadata is not of the type application/json")));
        }
        Metadata::parse(response.body(), &self.issuer, self.loopback_http).map_err(unusable)
    }
}

const JSON: &str = "application/json";

/// The reason a document yielded no metadata.
struct Miss {
    error: VerifyError,
    /// The weight of the error: of two, the heavier one is reported.
    weight: u8,
    /// True if no other document may be requested.
    last: bool,
}

/// Returns the URLs of both documents.
///
/// The first inserts the well-known part before the path of the issuer (RFC 8414 §3.1), the second
/// appends it to the path (OpenID Connect Discovery 1.0 §4). Both drop a trailing slash of the
/// issuer.
fn documents(issuer: &str, loopback_http: bool) -> Result<[Endpoint; 2], NotAnEndpoint> {
    // RFC 8414 §2: an issuer identifier has neither query nor fragment.
    if issuer.contains('?') {
        return Err(NotAnEndpoint::HasQuery);
    }
    let uri = Endpoint::parse(issuer, loopback_http)?.into_uri();
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(NotAnEndpoint::NotAUrl);
    };
    let origin = format!("{scheme}://{authority}");
    Ok([
        Endpoint::parse(
            &format!("{origin}/.well-known/oauth-authorization-server{path}"),
            loopback_http,
        )?,
        Endpoint::parse(
            &format!("{origin}{path}/.well-known/openid-configuration"),
            loopback_http,
        )?,
    ])
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
