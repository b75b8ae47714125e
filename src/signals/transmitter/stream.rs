//! Manages one event stream (Shared Signals Framework 1.0 §8.1).

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode, Uri};
use serde_json::json;

use super::{
    client::TransmitterClient,
    configuration::EndpointName,
    error::{TransmitterError, TransmitterErrorKind},
    request::{Call, json_text, object},
    stream_configuration::{StreamConfiguration, StreamRequest},
};
use crate::{claims::json::Object, transport::endpoint::Endpoint};

/// One event stream at a transmitter.
///
/// [`EventStreams::stream`](crate::signals::EventStreams::stream) returns it. Each request has ten seconds, and
/// no response may be longer than 256 KiB.
///
/// # Errors
///
/// All methods return [`NotFound`](crate::signals::TransmitterErrorKind::NotFound) if the transmitter has no such
/// stream, [`Unsupported`](crate::signals::TransmitterErrorKind::Unsupported) if its metadata names no endpoint
/// for the request, and otherwise the reason why there is no response that can be understood.
#[derive(Clone, Debug)]
pub struct EventStream {
    client: TransmitterClient,
    id: Arc<str>,
}

/// The status of an event stream (§8.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamStatus {
    /// The transmitter sends no events and keeps none.
    Disabled,
    /// The transmitter sends events.
    Enabled,
    /// The transmitter sends no events, and keeps them.
    Paused,
}

impl StreamStatus {
    /// Returns the name of the status in requests and responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Paused => "paused",
        }
    }

    /// Returns the status with this name.
    pub(in crate::signals) fn named(name: &str) -> Option<Self> {
        [Self::Disabled, Self::Enabled, Self::Paused].into_iter().find(|it| it.as_str() == name)
    }
}

impl EventStream {
    pub(super) const fn new(client: TransmitterClient, id: Arc<str>) -> Self {
        Self { client, id }
    }

    pub(super) const fn client(&self) -> &TransmitterClient {
        &self.client
    }

    /// Returns the identifier of the stream.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the configuration (§8.1.1.2).
    ///
    /// # Errors
    ///
    /// See [`EventStream`].
    pub async fn read(&self) -> Result<StreamConfiguration, TransmitterError> {
        let response = self.call_with_query(Method::GET, EndpointName::Configuration).await?;
        self.configuration(&response)
    }

    /// Changes the part of the configuration that the receiver chooses, and returns the whole (§8.1.1.3).
    ///
    /// Types of events and a description that the request lacks stay as they are. Returns `None` if the
    /// transmitter has accepted the request, and will process it later.
    ///
    /// # Errors
    ///
    /// See [`EventStream`].
    pub async fn update(
        &self,
        request: &StreamRequest,
    ) -> Result<Option<StreamConfiguration>, TransmitterError> {
        let metadata = self.client.metadata().await?;
        let endpoint = metadata.require(EndpointName::Configuration)?;
        let call = Call::new(Method::PATCH, endpoint.uri().clone());
        let call = call.with_body(&request.to_json(Some(&self.id)));
        let response = self.client.send(&call).await?;
        if response.status() == StatusCode::ACCEPTED {
            return Ok(None);
        }
        self.configuration(&response).map(Some)
    }

    /// Deletes the stream (§8.1.1.5). Events that were not delivered are lost.
    ///
    /// # Errors
    ///
    /// See [`EventStream`].
    pub async fn delete(&self) -> Result<(), TransmitterError> {
        self.call_with_query(Method::DELETE, EndpointName::Configuration).await.map(drop)
    }

    /// Returns the status (§8.1.2.1).
    ///
    /// # Errors
    ///
    /// See [`EventStream`].
    pub async fn status(&self) -> Result<StreamStatus, TransmitterError> {
        let response = self.call_with_query(Method::GET, EndpointName::Status).await?;
        status_of(&object(json_text(&response)?)?)
    }

    /// Sets the status, with an optional reason for the operators of the transmitter (§8.1.2.2).
    ///
    /// Returns the new status, or `None` if the transmitter will process the request later.
    ///
    /// # Errors
    ///
    /// See [`EventStream`].
    pub async fn set_status(
        &self,
        status: StreamStatus,
        reason: Option<&str>,
    ) -> Result<Option<StreamStatus>, TransmitterError> {
        let mut body = json!({ "stream_id": &*self.id, "status": status.as_str() });
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }
        let response = self.post(EndpointName::Status, &body).await?;
        if response.status() == StatusCode::ACCEPTED {
            return Ok(None);
        }
        status_of(&object(json_text(&response)?)?).map(Some)
    }

    /// Asks for a verification event with this state (§8.1.4.2).
    ///
    /// The event arrives over the stream at some later time.
    ///
    /// # Errors
    ///
    /// See [`EventStream`]. A request that comes too soon after another is
    /// [`Unavailable`](crate::signals::TransmitterErrorKind::Unavailable).
    pub async fn verify(&self, state: Option<&str>) -> Result<(), TransmitterError> {
        let mut body = json!({ "stream_id": &*self.id });
        if let Some(state) = state {
            body["state"] = state.into();
        }
        self.post(EndpointName::Verification, &body).await.map(drop)
    }

    /// Asks for events about a subject (§8.1.3.2).
    ///
    /// `subject` is the text of a JSON object in a subject identifier format (RFC 9493). `verified` is true
    /// if this service has verified that the subject is one of its own. The transmitter may ignore the
    /// request without an error.
    ///
    /// ```
    /// # async fn add(stream: tower_introspect::signals::EventStream) -> Result<(), tower_introspect::signals::TransmitterError> {
    /// let alice = r#"{"format": "iss_sub", "iss": "https://as.example.com", "sub": "alice"}"#;
    /// stream.add_subject(alice, Some(true)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`EventStream`]. A text that is not one JSON object is
    /// [`Refused`](crate::signals::TransmitterErrorKind::Refused), and not sent.
    pub async fn add_subject(
        &self,
        subject: &str,
        verified: Option<bool>,
    ) -> Result<(), TransmitterError> {
        let mut body = self.about(subject)?;
        if let Some(verified) = verified {
            body["verified"] = verified.into();
        }
        self.post(EndpointName::AddSubject, &body).await.map(drop)
    }

    /// Asks for no more events about a subject (§8.1.3.3).
    ///
    /// Events about it may still arrive.
    ///
    /// # Errors
    ///
    /// See [`add_subject`](Self::add_subject).
    pub async fn remove_subject(&self, subject: &str) -> Result<(), TransmitterError> {
        let body = self.about(subject)?;
        self.post(EndpointName::RemoveSubject, &body).await.map(drop)
    }

    fn about(&self, subject: &str) -> Result<serde_json::Value, TransmitterError> {
        let refused = || {
            let refused = TransmitterError::new(TransmitterErrorKind::Refused);
            refused.with_context("the subject is not one JSON object with unique members")
        };
        Object::parse(subject.as_bytes()).map_err(|_| refused())?;
        let subject: serde_json::Value = serde_json::from_str(subject).map_err(|_| refused())?;
        Ok(json!({ "stream_id": &*self.id, "subject": subject }))
    }

    async fn post(
        &self,
        name: EndpointName,
        body: &serde_json::Value,
    ) -> Result<Response<Bytes>, TransmitterError> {
        let metadata = self.client.metadata().await?;
        self.client.send(&Call::post(metadata.require(name)?, body)).await
    }

    async fn call_with_query(
        &self,
        method: Method,
        name: EndpointName,
    ) -> Result<Response<Bytes>, TransmitterError> {
        let metadata = self.client.metadata().await?;
        let uri = with_stream_id(metadata.require(name)?, &self.id)?;
        // After a second DELETE the transmitter would know no such stream.
        let once = method == Method::DELETE;
        self.client.send(&Call { once, ..Call::new(method, uri) }).await
    }

    fn configuration(
        &self,
        response: &Response<Bytes>,
    ) -> Result<StreamConfiguration, TransmitterError> {
        let found = StreamConfiguration::parse(json_text(response)?, self.client.issuer())?;
        if *found.stream_id() != *self.id {
            return Err(TransmitterError::bad("the response is about another stream"));
        }
        Ok(found)
    }
}

fn with_stream_id(endpoint: &Endpoint, id: &str) -> Result<Uri, TransmitterError> {
    let uri = endpoint.uri();
    let separator = if uri.query().is_some() { '&' } else { '?' };
    let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let uri = format!("{uri}{separator}stream_id={id}").parse();
    uri.map_err(|_| TransmitterError::bad("the URL of the stream is too long"))
}

fn status_of(object: &Object<'_>) -> Result<StreamStatus, TransmitterError> {
    let status = object.string("status").ok().flatten();
    let status = status.and_then(|name| StreamStatus::named(&name));
    status.ok_or_else(|| TransmitterError::bad("the response names no known status"))
}
