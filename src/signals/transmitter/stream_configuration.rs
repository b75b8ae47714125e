//! The configuration of an event stream (Shared Signals Framework 1.0 §8.1.1).

use std::{fmt, time::Duration};

use serde_json::{Map, Value, json};

use super::{error::TransmitterError, request};
use crate::claims::json::{self, Object};

/// The method by which a transmitter delivers events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryMethod {
    /// A method that this crate does not know.
    Other,
    /// The receiver fetches events (RFC 8936).
    Poll,
    /// The transmitter sends events to an endpoint of the receiver (RFC 8935).
    Push,
}

const PUSH: &str = "urn:ietf:rfc:8935";
const POLL: &str = "urn:ietf:rfc:8936";

impl DeliveryMethod {
    /// Returns the method with this URI. Some transmitters still use the URIs of RISC.
    pub(super) fn named(uri: &str) -> Self {
        match uri {
            PUSH | "https://schemas.openid.net/secevent/risc/delivery-method/push" => Self::Push,
            POLL | "https://schemas.openid.net/secevent/risc/delivery-method/poll" => Self::Poll,
            _ => Self::Other,
        }
    }
}

/// The part of the configuration of a stream that the receiver chooses.
///
/// ```
/// use tower_introspect::signals::StreamRequest;
///
/// let request = StreamRequest::push("https://api.example.com/events")
///     .authorization_header("Bearer a-secret-of-the-two")
///     .event("https://schemas.openid.net/secevent/caep/event-type/session-revoked")
///     .description("orders API");
/// assert!(!format!("{request:?}").contains("a-secret"));
/// ```
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct StreamRequest {
    /// `None` for polling, where the transmitter chooses the URL.
    push_url: Option<String>,
    authorization_header: Option<String>,
    events: Vec<String>,
    description: Option<String>,
}

impl StreamRequest {
    /// Requests a stream whose events are polled (RFC 8936).
    pub const fn poll() -> Self {
        Self { push_url: None, authorization_header: None, events: Vec::new(), description: None }
    }

    /// Requests a stream whose events are sent to this URL of the receiver (RFC 8935).
    pub fn push(endpoint_url: impl Into<String>) -> Self {
        Self { push_url: Some(endpoint_url.into()), ..Self::poll() }
    }

    /// Sets the value of the `Authorization` field with which the transmitter pushes events (§6.1.1).
    ///
    /// Has no effect on a stream that is polled.
    pub fn authorization_header(mut self, value: impl Into<String>) -> Self {
        self.authorization_header = Some(value.into());
        self
    }

    /// Adds the URI of a type of events that the receiver wants. Without any, the transmitter decides.
    pub fn event(mut self, uri: impl Into<String>) -> Self {
        self.events.push(uri.into());
        self
    }

    /// Sets a description of the receiver.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    pub(super) const fn method(&self) -> DeliveryMethod {
        match self.push_url {
            Some(_) => DeliveryMethod::Push,
            None => DeliveryMethod::Poll,
        }
    }

    /// Returns the JSON text, with `stream_id` if the stream exists.
    pub(super) fn to_json(&self, stream_id: Option<&str>) -> Value {
        let delivery = match (&self.push_url, &self.authorization_header) {
            (None, _) => json!({ "method": POLL }),
            (Some(url), None) => json!({ "method": PUSH, "endpoint_url": url }),
            (Some(url), Some(header)) => {
                json!({ "method": PUSH, "endpoint_url": url, "authorization_header": header })
            }
        };
        let mut body = Map::new();
        body.insert("delivery".to_owned(), delivery);
        if let Some(id) = stream_id {
            body.insert("stream_id".to_owned(), id.into());
        }
        if !self.events.is_empty() {
            body.insert("events_requested".to_owned(), json!(self.events));
        }
        if let Some(description) = &self.description {
            body.insert("description".to_owned(), json!(description));
        }
        body.into()
    }
}

impl fmt::Debug for StreamRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRequest")
            .field("method", &self.method())
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// The configuration of a stream, as the transmitter has it.
#[derive(Clone)]
pub struct StreamConfiguration {
    stream_id: Box<str>,
    issuer: Box<str>,
    audience: Vec<Box<str>>,
    method: DeliveryMethod,
    endpoint_url: Option<Box<str>>,
    events_supported: Vec<Box<str>>,
    events_requested: Vec<Box<str>>,
    events_delivered: Vec<Box<str>>,
    min_verification_interval: Option<Duration>,
    inactivity_timeout: Option<Duration>,
}

impl StreamConfiguration {
    /// Returns the identifier of the stream.
    #[must_use]
    pub fn stream_id(&self) -> &str {
        &self.stream_id
    }

    /// Returns the issuer of the events.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the audience of the events.
    pub fn audience(&self) -> impl Iterator<Item = &str> {
        self.audience.iter().map(|value| &**value)
    }

    /// Returns the method by which events are delivered.
    #[must_use]
    pub const fn delivery_method(&self) -> DeliveryMethod {
        self.method
    }

    /// Returns the URL to which events are pushed, or from which they are polled.
    #[must_use]
    pub fn endpoint_url(&self) -> Option<&str> {
        self.endpoint_url.as_deref()
    }

    /// Returns the types of events that the transmitter supports for this receiver.
    pub fn events_supported(&self) -> impl Iterator<Item = &str> {
        self.events_supported.iter().map(|uri| &**uri)
    }

    /// Returns the types of events that the receiver requested.
    pub fn events_requested(&self) -> impl Iterator<Item = &str> {
        self.events_requested.iter().map(|uri| &**uri)
    }

    /// Returns the types of events that the transmitter delivers.
    pub fn events_delivered(&self) -> impl Iterator<Item = &str> {
        self.events_delivered.iter().map(|uri| &**uri)
    }

    /// Returns the minimum time between two requests for a verification event.
    #[must_use]
    pub const fn min_verification_interval(&self) -> Option<Duration> {
        self.min_verification_interval
    }

    /// Returns the time without requests of the receiver after which the transmitter may pause, disable
    /// or delete the stream.
    #[must_use]
    pub const fn inactivity_timeout(&self) -> Option<Duration> {
        self.inactivity_timeout
    }

    /// Reads the configuration of a stream of this issuer. Members that are not set are absent.
    pub(super) fn parse(text: &[u8], issuer: &str) -> Result<Self, TransmitterError> {
        let object = request::object(text)?;
        let required = |name| string(&object, name)?.ok_or_else(|| unusable(name));
        let found: Box<str> = required("iss")?;
        // Events are accepted from this issuer only.
        if *found != *issuer {
            return Err(TransmitterError::bad("`iss` of the stream is not the transmitter"));
        }
        let delivery = object.get("delivery").ok_or_else(|| unusable("delivery"))?;
        let delivery = request::object(delivery.get().as_bytes())?;
        let method = string(&delivery, "method")?.ok_or_else(|| unusable("delivery.method"))?;
        Ok(Self {
            stream_id: required("stream_id")?,
            issuer: found,
            audience: audience(&object)?,
            method: DeliveryMethod::named(&method),
            endpoint_url: string(&delivery, "endpoint_url")?,
            events_supported: strings(&object, "events_supported")?,
            events_requested: strings(&object, "events_requested")?,
            events_delivered: strings(&object, "events_delivered")?,
            min_verification_interval: seconds(&object, "min_verification_interval")?,
            inactivity_timeout: seconds(&object, "inactivity_timeout")?,
        })
    }
}

impl fmt::Debug for StreamConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamConfiguration")
            .field("stream_id", &self.stream_id)
            .field("method", &self.method)
            .field("events_delivered", &self.events_delivered)
            .finish_non_exhaustive()
    }
}

fn unusable(name: &str) -> TransmitterError {
    TransmitterError::bad(format!("`{name}` is missing or not of its type"))
}

fn string(object: &Object<'_>, name: &'static str) -> Result<Option<Box<str>>, TransmitterError> {
    let value = object.string(name).map_err(|_| unusable(name))?;
    Ok(value.map(Into::into))
}

fn strings(object: &Object<'_>, name: &str) -> Result<Vec<Box<str>>, TransmitterError> {
    let Some(value) = object.get(name) else { return Ok(Vec::new()) };
    let values = json::strings(value).ok_or_else(|| unusable(name))?;
    Ok(values.into_iter().map(Into::into).collect())
}

/// Reads `aud`: one string, or a list of them.
fn audience(object: &Object<'_>) -> Result<Vec<Box<str>>, TransmitterError> {
    match string(object, "aud") {
        Ok(one) => Ok(one.into_iter().collect()),
        Err(_) => strings(object, "aud"),
    }
}

fn seconds(object: &Object<'_>, name: &str) -> Result<Option<Duration>, TransmitterError> {
    let Some(value) = object.get(name) else { return Ok(None) };
    let seconds = value.get().parse().map_err(|_| unusable(name))?;
    Ok(Some(Duration::from_secs(seconds)))
}
