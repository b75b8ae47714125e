//! The streams of this service at one transmitter.

use std::sync::Arc;

use http::Method;
use serde_json::value::RawValue;

use super::{
    access::TransmitterAuth,
    client::TransmitterClient,
    configuration::EndpointName,
    error::{TransmitterError, TransmitterErrorKind},
    request::{Call, json_text},
    stream::EventStream,
    stream_configuration::{StreamConfiguration, StreamRequest},
};
use crate::{
    claims::json,
    clock::{Clock, SystemClock},
    error::config::ConfigError,
    transport::{common::CommonSettings, http_transport::HttpTransport},
};

/// The event streams of this service at one transmitter (Shared Signals Framework 1.0 §8.1).
///
/// The endpoints are found in the metadata of the transmitter (§7), which is fetched when it is first
/// needed. Each request has ten seconds, and no response may be longer than 256 KiB.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # let transport = tower_introspect::transport::HttpTransport::new(tower::service_fn(async |request: Request<Bytes>| {
/// #     let body = if request.uri().path() == "/.well-known/ssf-configuration" {
/// #         r#"{"issuer":"https://tr.example.com","configuration_endpoint":"https://tr.example.com/streams"}"#
/// #     } else {
/// #         r#"{"stream_id":"s1","iss":"https://tr.example.com","aud":"api","delivery":{"method":"urn:ietf:rfc:8936","endpoint_url":"https://tr.example.com/poll/s1"}}"#
/// #     };
/// #     Response::builder().header("content-type", "application/json").body(Bytes::from(body))
/// # }));
/// use tower_introspect::signals::{EventStreams, StreamRequest, TransmitterAuth};
///
/// # tokio_test::block_on(async {
/// let streams = EventStreams::builder("https://tr.example.com", TransmitterAuth::bearer("a-token"))
///     .transport(transport)
///     .build()?;
/// let session_revoked = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/// let configuration = streams.create(&StreamRequest::poll().event(session_revoked)).await?;
/// let stream = streams.stream(configuration.stream_id());
/// assert_eq!(stream.id(), "s1");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Clone
///
/// Clones share the metadata of the transmitter and the access token.
#[derive(Clone, Debug)]
pub struct EventStreams {
    client: TransmitterClient,
}

impl EventStreams {
    /// Creates a builder for the streams at the transmitter with this issuer.
    pub fn builder(issuer: impl Into<String>, auth: TransmitterAuth) -> EventStreamsBuilder {
        EventStreamsBuilder {
            issuer: issuer.into(),
            auth,
            transport: None,
            loopback_http: false,
            clock: Arc::new(SystemClock),
        }
    }

    #[cfg(test)]
    pub(super) const fn client(&self) -> &TransmitterClient {
        &self.client
    }

    /// Returns the stream with this identifier. Sends nothing.
    pub fn stream(&self, stream_id: impl Into<Arc<str>>) -> EventStream {
        EventStream::new(self.client.clone(), stream_id.into())
    }

    /// Creates a stream, and returns its configuration (§8.1.1.1).
    ///
    /// If the connection is closed before the response, the request is not repeated. The stream may exist
    /// then: see [`list`](Self::list).
    ///
    /// # Errors
    ///
    /// Returns [`Conflict`](TransmitterErrorKind::Conflict) if there is a stream and the transmitter
    /// allows no other, [`Unsupported`](TransmitterErrorKind::Unsupported) if it does not offer the
    /// delivery method, and otherwise the reason why there is no configuration.
    pub async fn create(
        &self,
        request: &StreamRequest,
    ) -> Result<StreamConfiguration, TransmitterError> {
        let metadata = self.client.metadata().await?;
        if !metadata.may_deliver_by(request.method()) {
            let unsupported = TransmitterError::new(TransmitterErrorKind::Unsupported);
            return Err(unsupported.with_context("the metadata does not list the delivery method"));
        }
        let endpoint = metadata.require(EndpointName::Configuration)?;
        let call = Call::post(endpoint, &request.to_json(None)).once();
        let response = self.client.send(&call).await?;
        StreamConfiguration::parse(json_text(&response)?, self.client.issuer())
    }

    /// Returns the configurations of all streams of this service (§8.1.1.2).
    ///
    /// # Errors
    ///
    /// Returns the reason why there is no response that can be understood.
    pub async fn list(&self) -> Result<Vec<StreamConfiguration>, TransmitterError> {
        let metadata = self.client.metadata().await?;
        let endpoint = metadata.require(EndpointName::Configuration)?;
        let call = Call::new(Method::GET, endpoint.uri().clone());
        let response = self.client.send(&call).await?;
        let text = json_text(&response)?;
        let parse = |text: &[u8]| StreamConfiguration::parse(text, self.client.issuer());
        // Some transmitters that allow one stream return an object.
        if text.trim_ascii_start().starts_with(b"{") {
            return Ok(vec![parse(text)?]);
        }
        let value: &RawValue = serde_json::from_slice(text)
            .map_err(|_| TransmitterError::bad("the response is not JSON"))?;
        let all = json::array(value);
        let all = all.ok_or_else(|| TransmitterError::bad("the response is not a list"))?;
        all.into_iter().map(|one| parse(one.get().as_bytes())).collect()
    }
}

/// A builder for [`EventStreams`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until built"]
pub struct EventStreamsBuilder {
    issuer: String,
    auth: TransmitterAuth,
    transport: Option<HttpTransport>,
    loopback_http: bool,
    clock: Arc<dyn Clock>,
}

impl EventStreamsBuilder {
    /// Creates a builder with the settings of a resource server for its transmitter.
    pub(crate) fn from_settings(settings: &CommonSettings, auth: TransmitterAuth) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            auth,
            transport: settings.transport.clone(),
            loopback_http: settings.loopback_http,
            clock: Arc::clone(&settings.clock),
        }
    }

    /// Sets the transport for requests to the transmitter, and for those for an access token. The
    /// default is `HttpTransport::reqwest`, if the feature `reqwest` is enabled.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Allows `http` URLs whose host is this machine, for tests.
    ///
    /// # Security
    ///
    /// Every process of the machine may be able to read such requests, with their access token.
    pub const fn danger_allow_http_loopback(mut self) -> Self {
        self.loopback_http = true;
        self
    }

    /// Sets the clock. The default is [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the streams. Sends nothing.
    ///
    /// # Errors
    ///
    /// Returns every problem with the settings.
    pub fn build(self) -> Result<EventStreams, ConfigError> {
        let mut problems = ConfigError::new();
        let transport = HttpTransport::or_default(self.transport.as_ref(), &mut problems);
        let Some(transport) = transport else { return Err(problems) };
        let Self { issuer, auth, loopback_http, clock, .. } = self;
        let client = TransmitterClient::new(&issuer, auth, transport, loopback_http, clock)?;
        Ok(EventStreams { client })
    }
}
