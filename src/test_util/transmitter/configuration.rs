//! The metadata of the transmitter, and the configuration of streams.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    super::{
        error::EndpointError,
        fault::Endpoint,
        response::{bare, json},
        signals::{delivery::is_http_url, names::SUPPORTED},
        state::State,
    },
    requests::{members, optional, stream_id},
    streams::{Push, Settings, Stream},
};

const PUSH: &str = "urn:ietf:rfc:8935";
const POLL: &str = "urn:ietf:rfc:8936";

impl State {
    /// Returns the metadata of the transmitter (SSF 1.0, Transmitter Configuration Metadata).
    pub(in crate::test_util) fn transmitter_metadata(&self) -> Map<String, Value> {
        let at = |endpoint| self.url(endpoint);
        let document = json!({
            "spec_version": "1_0",
            "issuer": self.issuer,
            "jwks_uri": at(Endpoint::Jwks),
            "delivery_methods_supported": [PUSH, POLL],
            "configuration_endpoint": at(Endpoint::Streams),
            "status_endpoint": at(Endpoint::StreamStatus),
            "add_subject_endpoint": at(Endpoint::AddSubject),
            "remove_subject_endpoint": at(Endpoint::RemoveSubject),
            "verification_endpoint": at(Endpoint::Verification),
            "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}],
            "default_subjects": "ALL",
        });
        let Value::Object(mut document) = document else { unreachable!("it is an object") };
        document.extend(self.streams.metadata_changes.clone());
        document.retain(|_, value| !value.is_null());
        document
    }

    /// Creates, reads, changes and deletes streams (SSF 1.0, Stream Configuration).
    pub(super) fn configure(
        &mut self,
        client: &str,
        request: &Request<Bytes>,
    ) -> Result<Response<Bytes>, EndpointError> {
        match *request.method() {
            Method::GET => {
                let configuration = match stream_id(request)? {
                    Some(id) => {
                        self.stream(client, Some(&id))?;
                        self.configurations(client).pop()
                    }
                    None => Some(self.configurations(client).into()),
                };
                Ok(json(StatusCode::OK, &configuration.unwrap_or_default()))
            }
            Method::DELETE => {
                let id = self.stream(client, stream_id(request)?.as_deref())?.id.clone();
                self.streams.all.retain(|stream| stream.id != id);
                Ok(bare(StatusCode::NO_CONTENT))
            }
            Method::POST => {
                let settings = self.settings(&members(request)?, Settings::default())?;
                if self.streams.of(client).is_some() {
                    return Err(EndpointError::Status(StatusCode::CONFLICT));
                }
                self.streams.create(client, settings);
                Ok(json(StatusCode::CREATED, &self.configurations(client)[0]))
            }
            Method::PATCH | Method::PUT => {
                let members = members(request)?;
                let id = optional(&members, "stream_id", Value::as_str)?;
                let stream = self.stream(client, id)?;
                let base = match *request.method() {
                    Method::PATCH => stream.settings.clone(),
                    _ => Settings::default(),
                };
                let current = &self.configurations(client)[0];
                let supplied = ["iss", "aud", "events_supported", "events_delivered"];
                let timing = ["min_verification_interval", "inactivity_timeout"];
                for name in supplied.into_iter().chain(timing) {
                    if members.get(name).is_some_and(|value| *value != current[name]) {
                        let why = "a member that only the transmitter may change";
                        return Err(EndpointError::invalid_request(why));
                    }
                }
                let settings = self.settings(&members, base)?;
                self.stream(client, id)?.settings = settings;
                Ok(json(StatusCode::OK, &self.configurations(client)[0]))
            }
            _ => Err(EndpointError::WrongMethod("GET, POST, PATCH, PUT, DELETE")),
        }
    }

    /// Returns the configurations of the streams of a client.
    fn configurations(&self, client: &str) -> Vec<Value> {
        let own = self.streams.all.iter().filter(|stream| stream.client == client);
        own.map(|stream| self.configuration(stream)).collect()
    }

    fn configuration(&self, stream: &Stream) -> Value {
        let settings = &stream.settings;
        let delivery = match &settings.push {
            // The authorization is a secret, which nobody needs to read again.
            Some(push) => json!({"method": PUSH, "endpoint_url": push.url}),
            None => json!({"method": POLL, "endpoint_url": self.url(Endpoint::Poll)}),
        };
        let delivered = SUPPORTED.into_iter().filter(|event| settings.delivers(event));
        let mut configuration = json!({
            "stream_id": stream.id,
            "iss": self.issuer,
            "aud": stream.client,
            "delivery": delivery,
            "events_supported": SUPPORTED,
            "events_delivered": delivered.collect::<Value>(),
        });
        if let Some(requested) = &settings.events_requested {
            configuration["events_requested"] = json!(requested);
        }
        if let Some(description) = &settings.description {
            configuration["description"] = json!(description);
        }
        let interval = self.streams.min_verification_interval;
        if interval > Duration::ZERO {
            configuration["min_verification_interval"] = interval.as_secs().into();
        }
        configuration
    }

    /// Reads the properties that the receiver sets. Those that are absent are as in `base`.
    fn settings(
        &self,
        members: &Map<String, Value>,
        base: Settings,
    ) -> Result<Settings, EndpointError> {
        let description = optional(members, "description", Value::as_str)?;
        let events = optional(members, "events_requested", strings)?;
        let push = match optional(members, "delivery", Value::as_object)? {
            Some(delivery) => self.push(delivery)?,
            None => base.push,
        };
        Ok(Settings {
            push,
            events_requested: events.or(base.events_requested),
            description: description.map(str::to_owned).or(base.description),
        })
    }

    /// Reads the delivery of a stream (SSF 1.0, Stream Configuration). Returns `None` for polling.
    fn push(&self, delivery: &Map<String, Value>) -> Result<Option<Push>, EndpointError> {
        let url = optional(delivery, "endpoint_url", Value::as_str)?;
        let authorization = optional(delivery, "authorization_header", |value| {
            HeaderValue::from_str(value.as_str()?).ok()
        })?;
        match (optional(delivery, "method", Value::as_str)?, url) {
            (Some(PUSH), Some(url)) if is_http_url(url) => {
                Ok(Some(Push { url: url.to_owned(), authorization }))
            }
            // The transmitter chooses the URL.
            (Some(POLL), url) if url.is_none_or(|url| url == self.url(Endpoint::Poll)) => Ok(None),
            _ => Err(EndpointError::invalid_request("not a delivery of this transmitter")),
        }
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}
