//! The endpoints of the transmitter, strictly by SSF 1.0.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    super::{
        error::EndpointError,
        fault::Endpoint,
        response::{bare, json},
        signals::names::VERIFICATION,
        state::State,
    },
    requests::{members, optional, stream_id},
    streams::{Status, Stream},
};

/// The limit on the events on a stream beyond which no verification event is added.
const MAX_QUEUED: usize = 1024;

impl State {
    /// Returns the response to a request with an access token.
    pub(in crate::test_util) fn transmit(
        &mut self,
        endpoint: Endpoint,
        request: &Request<Bytes>,
    ) -> Result<Response<Bytes>, EndpointError> {
        let client = self.receiver(request)?;
        match (endpoint, request.method()) {
            (Endpoint::Streams, _) => self.configure(&client, request),
            (Endpoint::StreamStatus, &Method::GET) => {
                let stream = self.stream(&client, stream_id(request)?.as_deref())?;
                Ok(json(StatusCode::OK, &status(stream)))
            }
            (Endpoint::StreamStatus, &Method::POST) => self.set_status(&client, &members(request)?),
            (Endpoint::StreamStatus, _) => Err(EndpointError::WrongMethod("GET, POST")),
            (_, &Method::POST) => {
                let members = members(request)?;
                match endpoint {
                    Endpoint::AddSubject => self.subject(&client, &members, StatusCode::OK),
                    Endpoint::RemoveSubject => {
                        self.subject(&client, &members, StatusCode::NO_CONTENT)
                    }
                    Endpoint::Verification => self.verify(&client, &members),
                    _ => self.poll(client, &members),
                }
            }
            _ => Err(EndpointError::WrongMethod("POST")),
        }
    }

    /// Sets the status of a stream (SSF 1.0, Stream Status).
    fn set_status(
        &mut self,
        client: &str,
        members: &Map<String, Value>,
    ) -> Result<Response<Bytes>, EndpointError> {
        let new = optional(members, "status", |value| Status::named(value.as_str()?))?;
        let new = new.ok_or(EndpointError::invalid_request("no status"))?;
        let reason = optional(members, "reason", Value::as_str)?.map(str::to_owned);
        let stream = self.stream(client, optional(members, "stream_id", Value::as_str)?)?;
        (stream.status, stream.reason) = (new, reason);
        if new == Status::Disabled {
            stream.queue.clear();
        }
        let body = status(stream);
        self.streams.changed.send_replace(());
        Ok(json(StatusCode::OK, &body))
    }

    /// Checks a request to add or remove a subject (SSF 1.0, Subjects).
    ///
    /// It has no other effect: a transmitter may send events about all subjects.
    fn subject(
        &mut self,
        client: &str,
        members: &Map<String, Value>,
        success: StatusCode,
    ) -> Result<Response<Bytes>, EndpointError> {
        let subject = optional(members, "subject", Value::as_object)?;
        let format = subject.and_then(|subject| subject.get("format"));
        if !format.is_some_and(Value::is_string) {
            return Err(EndpointError::invalid_request("no subject with a format"));
        }
        optional(members, "verified", Value::as_bool)?;
        self.stream(client, optional(members, "stream_id", Value::as_str)?)?;
        Ok(bare(success))
    }

    /// Sends a verification event (SSF 1.0, Verification).
    fn verify(
        &mut self,
        client: &str,
        members: &Map<String, Value>,
    ) -> Result<Response<Bytes>, EndpointError> {
        let now = self.clock.now();
        let interval = self.streams.min_verification_interval;
        let state = optional(members, "state", Value::as_str)?;
        let stream = self.stream(client, optional(members, "stream_id", Value::as_str)?)?;
        let early = stream.verified.is_some_and(|last| now < last.saturating_add(interval));
        if early || stream.queue.len() >= MAX_QUEUED {
            return Err(EndpointError::Status(StatusCode::TOO_MANY_REQUESTS));
        }
        stream.verified = Some(now);
        let identifier = json!({"format": "opaque", "id": stream.id});
        let payload = state.map_or_else(|| json!({}), |state| json!({ "state": state }));
        self.send_event(client, VERIFICATION, &payload, &identifier);
        Ok(bare(StatusCode::NO_CONTENT))
    }
}

/// Returns the status of a stream (SSF 1.0, Stream Status).
fn status(stream: &Stream) -> Value {
    let mut status = json!({"stream_id": stream.id, "status": stream.status.name()});
    if let Some(reason) = &stream.reason {
        status["reason"] = json!(reason);
    }
    status
}
