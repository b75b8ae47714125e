//! Fetches the metadata of a transmitter (Shared Signals Framework 1.0 §7).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::ACCEPT};

use super::{
    error::{TransmitterError, TransmitterErrorKind},
    stream_configuration::DeliveryMethod,
};
use crate::{
    claims::json::{self, NotStrict, Object},
    clock::Clock,
    error::refusal::VerifyError,
    refresh::source::{Fetched, Source},
    transport::{
        endpoint::{Endpoint, EndpointError},
        error::TransportError,
        http_transport::HttpTransport,
        response::{bad, in_context, is_media_type, plain_body, unavailable_error},
    },
};

/// The time for which metadata is fresh.
const FRESH_FOR: Duration = Duration::from_secs(60 * 60);

/// The time limit for the request.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum length of metadata in bytes.
const MAX_METADATA: usize = 256 * 1024;

/// An endpoint of a transmitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointName {
    AddSubject,
    Configuration,
    Jwks,
    RemoveSubject,
    Status,
    Verification,
}

impl EndpointName {
    const ALL: [Self; 6] = [
        Self::AddSubject,
        Self::Configuration,
        Self::Jwks,
        Self::RemoveSubject,
        Self::Status,
        Self::Verification,
    ];

    const fn member(self) -> &'static str {
        match self {
            Self::AddSubject => "add_subject_endpoint",
            Self::Configuration => "configuration_endpoint",
            Self::Jwks => "jwks_uri",
            Self::RemoveSubject => "remove_subject_endpoint",
            Self::Status => "status_endpoint",
            Self::Verification => "verification_endpoint",
        }
    }
}

/// The parts of the metadata of a transmitter that this crate uses.
#[derive(Debug)]
pub(crate) struct TransmitterMetadata {
    endpoints: [Result<Endpoint, &'static str>; 6],
    /// The URIs of delivery methods. Empty if the metadata lists none.
    delivery_methods: Vec<DeliveryMethod>,
}

impl TransmitterMetadata {
    /// Returns an endpoint, or an error with the reason why there is none.
    pub(crate) fn require(&self, name: EndpointName) -> Result<&Endpoint, TransmitterError> {
        // The position is that in `ALL`.
        self.endpoints[name as usize].as_ref().map_err(|problem| {
            TransmitterError::new(TransmitterErrorKind::Unsupported)
                .with_context(format!("`{}` in the metadata: {problem}", name.member()))
        })
    }

    /// Returns true if the transmitter offers a delivery method, or lists none.
    pub(super) fn may_deliver_by(&self, method: DeliveryMethod) -> bool {
        self.delivery_methods.is_empty() || self.delivery_methods.contains(&method)
    }

    /// Parses metadata, which must name this issuer (§7.2.3). Members that are not set are absent.
    fn parse(text: &[u8], issuer: &str, loopback_http: bool) -> Result<Self, VerifyError> {
        let object = Object::parse(text)
            .map_err(|NotStrict| bad("the metadata is not one JSON object with unique members"))?;
        let object = object.without_unset(&[]);
        match object.string("issuer") {
            Ok(Some(found)) if *found == *issuer => {}
            Ok(Some(_)) => return Err(bad("the metadata names another issuer")),
            _ => return Err(bad("the metadata names no issuer")),
        }
        let endpoint = |name: EndpointName| {
            let value = object.get(name.member()).ok_or("missing")?;
            let url = json::string(value).ok_or("not a string")?;
            Endpoint::parse(&url, loopback_http).map_err(EndpointError::describe)
        };
        // A list that is unusable must not look like an empty one.
        let methods = match object.get("delivery_methods_supported") {
            None => Vec::new(),
            Some(value) => json::strings(value).ok_or_else(|| {
                bad("`delivery_methods_supported` in the metadata is not a list of strings")
            })?,
        };
        Ok(Self {
            endpoints: EndpointName::ALL.map(endpoint),
            delivery_methods: methods.iter().map(|uri| DeliveryMethod::named(uri)).collect(),
        })
    }
}

/// The source of the metadata of one transmitter.
pub(super) struct MetadataSource {
    issuer: Box<str>,
    url: Endpoint,
    transport: HttpTransport,
    loopback_http: bool,
    clock: Arc<dyn Clock>,
}

impl MetadataSource {
    pub(super) fn new(
        issuer: &str,
        transport: HttpTransport,
        loopback_http: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EndpointError> {
        let url = metadata_url(issuer, loopback_http)?;
        Ok(Self { issuer: issuer.into(), url, transport, loopback_http, clock })
    }

    async fn metadata(&self) -> Result<TransmitterMetadata, VerifyError> {
        let request = || {
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = self.url.uri().clone();
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(JSON));
            Ok(request)
        };
        let response = self.transport.send(request, TIMEOUT, MAX_METADATA).await;
        self.read(&response.map_err(|error: TransportError| VerifyError::from(error))?)
    }

    fn read(&self, response: &Response<Bytes>) -> Result<TransmitterMetadata, VerifyError> {
        if let Some(error) = unavailable_error(response, self.clock.now()) {
            return Err(error);
        }
        let status = response.status();
        if status != StatusCode::OK {
            return Err(bad(format!("the server responded with status {}", status.as_u16())));
        }
        if !is_media_type(response.headers(), JSON) {
            return Err(bad("the metadata is not of the type application/json"));
        }
        TransmitterMetadata::parse(plain_body(response)?, &self.issuer, self.loopback_http)
    }
}

const JSON: &str = "application/json";

impl Source for MetadataSource {
    type Value = TransmitterMetadata;

    async fn fetch(
        &self,
        _: Option<Arc<TransmitterMetadata>>,
    ) -> Result<Fetched<TransmitterMetadata>, VerifyError> {
        match self.metadata().await {
            Ok(metadata) => Ok(Fetched { value: Arc::new(metadata), fresh_for: FRESH_FOR }),
            Err(error) => {
                Err(in_context(error, format!("metadata of the transmitter {}", self.issuer)))
            }
        }
    }
}

/// Returns the URL of the metadata: the well-known part is inserted before the path of the issuer
/// (§7.2.1). A trailing slash of the issuer is dropped.
pub(crate) fn metadata_url(issuer: &str, loopback_http: bool) -> Result<Endpoint, EndpointError> {
    if issuer.contains('?') {
        return Err(EndpointError::HasQuery);
    }
    let uri = Endpoint::parse(issuer, loopback_http)?.into_uri();
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(EndpointError::NotAUrl);
    };
    let url = format!("{scheme}://{authority}/.well-known/ssf-configuration{path}");
    Endpoint::parse(&url, loopback_http)
}
