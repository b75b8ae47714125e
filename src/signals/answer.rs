//! The responses of receivers of signals.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::json;

use super::received::Refusal;

/// The reason why a change that holds here is not acknowledged.
pub(super) const NOT_SHARED: &str = "the other instances of the service can't be told just now";

/// A response. None may be stored (Back-Channel Logout 1.0 §2.8).
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Answer {
    /// Returns a response without a body.
    pub(super) const fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Returns the response to another method than those that are `allowed`.
    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        let mut answer = Self::empty(StatusCode::METHOD_NOT_ALLOWED);
        answer.headers.push((ALLOW, HeaderValue::from_static(allowed)));
        answer
    }

    /// Returns a refusal in the form of OAuth (RFC 6749 §5.2).
    pub(super) fn oauth_error(error: &'static str, description: &'static str) -> Self {
        let body = json!({ "error": error, "error_description": description });
        Self::json(StatusCode::BAD_REQUEST, &body)
    }

    /// Returns a refusal of a security event token (RFC 8935 §2.3).
    pub(super) fn set_error(refusal: Refusal) -> Self {
        let body = json!({ "err": refusal.err, "description": refusal.description });
        let mut answer = Self::json(StatusCode::BAD_REQUEST, &body);
        answer.headers.push((CONTENT_LANGUAGE, HeaderValue::from_static("en")));
        answer
    }

    /// Returns a response that blames this service, or a server that it needs, and not the sender.
    pub(super) fn unavailable(description: &'static str, retry_after: Option<Duration>) -> Self {
        let body = json!({ "error": "temporarily_unavailable", "error_description": description });
        let mut answer = Self::json(StatusCode::SERVICE_UNAVAILABLE, &body);
        let seconds = retry_after.map_or(1, |after| after.as_secs().max(1));
        answer.headers.push((RETRY_AFTER, seconds.into()));
        answer
    }

    /// Returns a response with a JSON body.
    pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        let mut answer = Self::empty(status);
        answer.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        answer.body = body.to_string().into_bytes();
        answer
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
