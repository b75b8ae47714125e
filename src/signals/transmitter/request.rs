//! One request to a transmitter, and the checks that all responses have in common.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode, Uri};

use super::error::{TransmitterError, TransmitterErrorKind};
use crate::{
    claims::json::Object,
    clock::UnixTime,
    transport::{
        endpoint::Endpoint,
        response::{is_media_type, plain_body, unavailable_error},
    },
};

/// The maximum length of a response in bytes, other than that of a poll.
pub(super) const MAX_RESPONSE: usize = 256 * 1024;

/// The time limit for a request, other than a long poll.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// A request to a transmitter, without its access token.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// A JSON object.
    pub(super) body: Option<Bytes>,
    /// True if the body has text for people.
    pub(super) has_descriptions: bool,
    /// True if the request must not be sent again over another connection, because the transmitter
    /// may have received the first one.
    pub(super) once: bool,
    pub(super) timeout: Duration,
    pub(super) limit: usize,
}

impl Call {
    pub(super) fn new(method: Method, uri: Uri) -> Self {
        let (timeout, limit) = (TIMEOUT, MAX_RESPONSE);
        Self { method, uri, body: None, has_descriptions: false, once: false, timeout, limit }
    }

    pub(super) fn post(endpoint: &Endpoint, body: &serde_json::Value) -> Self {
        Self::new(Method::POST, endpoint.uri().clone()).with_body(body)
    }

    pub(super) fn with_body(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(Bytes::from(body.to_string()));
        self
    }

    pub(super) fn once(mut self) -> Self {
        self.once = true;
        self
    }
}

/// Returns a successful response, or the error that another status stands for.
pub(super) fn successful(
    response: Response<Bytes>,
    now: UnixTime,
) -> Result<Response<Bytes>, TransmitterError> {
    if let Some(error) = unavailable_error(&response, now) {
        return Err(error.into());
    }
    let status = response.status();
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => TransmitterErrorKind::Unauthorized,
        StatusCode::NOT_FOUND => TransmitterErrorKind::NotFound,
        StatusCode::CONFLICT => TransmitterErrorKind::Conflict,
        _ if status.is_client_error() => TransmitterErrorKind::Refused,
        _ if status.is_success() => return Ok(response),
        _ => TransmitterErrorKind::BadResponse,
    };
    let context = format!("it responded with status {}", status.as_u16());
    Err(TransmitterError::new(kind).with_context(context))
}

/// Returns the JSON text of a response.
pub(super) fn json_text(response: &Response<Bytes>) -> Result<&[u8], TransmitterError> {
    if !is_media_type(response.headers(), "application/json") {
        return Err(TransmitterError::bad("the response is not of the type application/json"));
    }
    Ok(plain_body(response)?)
}

/// Reads JSON text, which must be exactly one object. Members that are not set are absent.
pub(super) fn object(text: &[u8]) -> Result<Object<'_>, TransmitterError> {
    let object = Object::parse(text).map(|object| object.without_unset(&[]));
    object.map_err(|_| TransmitterError::bad("not one JSON object with unique members"))
}
