//! Reading requests to the transmitter.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::{Map, Value};

use super::{
    super::{
        error::EndpointError, form::Form, providers::members::IssuedKind, response::essence,
        state::State,
    },
    streams::Stream,
};

impl State {
    /// Returns the client whose access token the request has (RFC 6750 §2.1).
    pub(super) fn receiver(&self, request: &Request<Bytes>) -> Result<String, EndpointError> {
        let headers = request.headers();
        if headers.contains_key(header::COOKIE) {
            return Err(EndpointError::invalid_request("a cookie"));
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(EndpointError::InvalidToken);
        };
        let (scheme, token) =
            value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
        let now = self.clock.now();
        let record = self.tokens.get(token).filter(|record| {
            let facts = &record.facts;
            !record.revoked && facts.kind == IssuedKind::Access && facts.is_valid_at(now)
        });
        let client = record.and_then(|record| record.facts.value("client_id")?.as_str());
        let client = client.filter(|_| scheme.eq_ignore_ascii_case("bearer"));
        client.map(str::to_owned).ok_or(EndpointError::InvalidToken)
    }

    /// Returns the stream of a client, if it has this identifier.
    pub(super) fn stream(
        &mut self,
        client: &str,
        id: Option<&str>,
    ) -> Result<&mut Stream, EndpointError> {
        let id = id.ok_or(EndpointError::invalid_request("no stream_id"))?;
        let stream = self.streams.of(client).filter(|stream| stream.id == id);
        stream.ok_or(EndpointError::Status(StatusCode::NOT_FOUND))
    }
}

/// Returns the `stream_id` of the query.
pub(super) fn stream_id(request: &Request<Bytes>) -> Result<Option<String>, EndpointError> {
    if !request.body().is_empty() {
        return Err(EndpointError::invalid_request("a body"));
    }
    let form = Form::parse(request.uri().query().unwrap_or_default().as_bytes());
    if form.repeats(&[]) {
        return Err(EndpointError::invalid_request("a parameter is repeated"));
    }
    Ok(form.get("stream_id").map(str::to_owned))
}

/// Returns the members of the body.
pub(super) fn members(request: &Request<Bytes>) -> Result<Map<String, Value>, EndpointError> {
    if request.uri().query().is_some() {
        return Err(EndpointError::invalid_request("parameters in the query"));
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let essence = content_type.and_then(|value| value.to_str().ok()).map(essence);
    if essence.as_deref() != Some("application/json") {
        return Err(EndpointError::invalid_request("not application/json"));
    }
    let object = serde_json::from_slice(request.body());
    object.map_err(|_| EndpointError::invalid_request("the body is not a JSON object"))
}

/// Returns a member of this type, or `None` if it is absent.
pub(super) fn optional<'a, T>(
    members: &'a Map<String, Value>,
    name: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, EndpointError> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let value = read(value).ok_or(EndpointError::invalid_request("a member of the wrong type"))?;
    Ok(Some(value))
}
