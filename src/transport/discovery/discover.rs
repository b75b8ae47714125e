//! Fetches the metadata of an issuer (RFC 8414, OpenID Connect Discovery).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};

use super::metadata::Metadata;
use crate::{
    error::{kind::ErrorKind, refusal::VerifyError},
    refresh::{
        refresher::Refresher,
        source::{Fetched, RefreshState, Source},
    },
    transport::{
        calls::{CallRecorder, LastCall},
        endpoint::{Endpoint, EndpointError},
        error::TransportError,
        http_transport::HttpTransport,
        response::{bad, in_context, is_media_type, plain_body, unavailable_error},
    },
};

/// The time for which metadata is fresh.
const FRESH_FOR: Duration = Duration::from_secs(60 * 60);

/// The time limit for all requests of one discovery.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum length of metadata in bytes.
const MAX_METADATA_BYTES: usize = 256 * 1024;

/// The minimum time between two fetches of metadata that seems to be wrong.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

/// The metadata of one issuer, fetched when it is first needed. Clones share it.
///
/// The document of RFC 8414 is requested first. If it is not usable, the document of OpenID Connect
/// is requested, and last the one whose URL is formed by the rule of RFC 8414 with the name of OpenID
/// Connect. Another request is not sent where it would only make the failure worse (no response, 429,
/// 503).
#[derive(Clone)]
pub(crate) struct Discovery {
    refresher: Refresher<MetadataSource>,
    calls: CallRecorder,
}

impl Discovery {
    pub(crate) fn new(
        issuer: &str,
        transport: HttpTransport,
        loopback_http: bool,
        calls: CallRecorder,
    ) -> Result<Self, EndpointError> {
        let documents = document_urls(issuer, loopback_http)?;
        Ok(Self::of_documents(issuer, documents, transport, loopback_http, calls))
    }

    /// Returns the metadata of a transmitter of security events (SSF 1.0 §7.2), of which the URL of the
    /// keys is used.
    #[cfg(feature = "signals")]
    pub(crate) fn of_transmitter(
        issuer: &str,
        transport: HttpTransport,
        loopback_http: bool,
        calls: CallRecorder,
    ) -> Result<Self, EndpointError> {
        let (origin, path) = origin_and_path(issuer, loopback_http)?;
        let url = format!("{origin}/.well-known/ssf-configuration{path}");
        let documents = vec![Endpoint::parse(&url, loopback_http)?];
        Ok(Self::of_documents(issuer, documents, transport, loopback_http, calls))
    }

    fn of_documents(
        issuer: &str,
        documents: Vec<Endpoint>,
        transport: HttpTransport,
        loopback_http: bool,
        calls: CallRecorder,
    ) -> Self {
        let source = MetadataSource {
            issuer: issuer.into(),
            documents,
            transport,
            loopback_http,
            calls: calls.clone(),
        };
        let refresher = Refresher::new(source, Arc::clone(calls.clock()));
        Self { refresher, calls }
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
    pub(crate) fn state(&self) -> RefreshState<Metadata> {
        self.refresher.state()
    }

    /// Returns the outcome of the last discovery.
    pub(crate) fn last_call(&self) -> Option<LastCall> {
        self.calls.last_call()
    }

    /// Starts to fetch the metadata if it is missing or stale. Never waits.
    pub(crate) fn start_fetching(&self) {
        self.refresher.start_fetching();
    }

    /// Starts to fetch the metadata again after an endpoint failed, which may have moved. Never
    /// waits.
    pub(crate) fn renew_after_failure(&self) {
        self.refresher.renew_in_background(RENEWAL_INTERVAL);
    }
}

/// The source of the metadata of one issuer.
struct MetadataSource {
    issuer: Box<str>,
    documents: Vec<Endpoint>,
    transport: HttpTransport,
    loopback_http: bool,
    calls: CallRecorder,
}

impl Source for MetadataSource {
    type Value = Metadata;

    async fn fetch(&self, _: Option<Arc<Metadata>>) -> Result<Fetched<Metadata>, VerifyError> {
        let call = self.calls.start();
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

impl MetadataSource {
    async fn first_usable(&self) -> Result<Metadata, VerifyError> {
        let mut worst: Option<DocumentError> = None;
        for url in &self.documents {
            let failure = match self.document(url).await {
                Ok(metadata) => return Ok(metadata),
                Err(failure) => failure,
            };
            let ends = failure.last;
            // The error that says more about the problem.
            if worst.as_ref().is_none_or(|before| before.weight <= failure.weight) {
                worst = Some(failure);
            }
            if ends {
                break;
            }
        }
        Err(worst.map_or_else(|| bad("no metadata"), |failure| failure.error))
    }

    async fn document(&self, url: &Endpoint) -> Result<Metadata, DocumentError> {
        let request = || {
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = url.uri().clone();
            let json = header::HeaderValue::from_static(JSON);
            request.headers_mut().insert(header::ACCEPT, json);
            Ok(request)
        };
        let response = self.transport.send(request, TIMEOUT, MAX_METADATA_BYTES).await;
        let response = response.map_err(|error: TransportError| DocumentError {
            error: error.into(),
            weight: 3,
            last: true,
        })?;
        self.read(&response)
    }

    fn read(&self, response: &Response<Bytes>) -> Result<Metadata, DocumentError> {
        let status = response.status();
        if let Some(error) = unavailable_error(response, self.calls.clock().now()) {
            let last =
                matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            return Err(DocumentError { error, weight: 3, last });
        }
        if status != StatusCode::OK {
            let error =
                bad(format!("no metadata: the server responded with status {}", status.as_u16()));
            return Err(DocumentError { error, weight: 1, last: false });
        }
        let unusable = |error| DocumentError { error, weight: 2, last: false };
        if !is_media_type(response.headers(), JSON) {
            return Err(unusable(bad("the metadata is not of the type application/json")));
        }
        let text = plain_body(response).map_err(unusable)?;
        Metadata::parse(text, &self.issuer, self.loopback_http).map_err(unusable)
    }
}

const JSON: &str = "application/json";

/// The reason a document yielded no metadata.
struct DocumentError {
    error: VerifyError,
    /// The weight of the error: of two, the heavier one is reported.
    weight: u8,
    /// True if no other document may be requested.
    last: bool,
}

/// Returns the URLs of the documents, in the order in which they are requested.
///
/// The first inserts the well-known part before the path of the issuer (RFC 8414 §3.1), the second
/// appends it to the path (OpenID Connect Discovery 1.0 §4). The third, for issuers with a path,
/// inserts the name of OpenID Connect (RFC 8414 §5). All drop a trailing slash of the issuer.
pub(crate) fn document_urls(
    issuer: &str,
    loopback_http: bool,
) -> Result<Vec<Endpoint>, EndpointError> {
    let (origin, path) = origin_and_path(issuer, loopback_http)?;
    let mut urls = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}{path}/.well-known/openid-configuration"),
    ];
    if !path.is_empty() {
        urls.push(format!("{origin}/.well-known/openid-configuration{path}"));
    }
    urls.iter().map(|url| Endpoint::parse(url, loopback_http)).collect()
}

/// Returns the origin of an issuer, and the path of its identifier without a slash at the end.
fn origin_and_path(issuer: &str, loopback_http: bool) -> Result<(String, String), EndpointError> {
    // RFC 8414 §2: an issuer identifier has neither query nor fragment.
    if issuer.contains('?') {
        return Err(EndpointError::HasQuery);
    }
    let uri = Endpoint::parse(issuer, loopback_http)?.into_uri();
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(EndpointError::NotAUrl);
    };
    Ok((format!("{scheme}://{authority}"), path.to_owned()))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
