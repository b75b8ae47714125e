//! The forms of responses.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::error::EndpointError;

impl EndpointError {
    pub(super) fn into_response(self) -> Response<Bytes> {
        match self {
            Self::OAuth(error, why) => {
                let body = json!({ "error": error, "error_description": why });
                json(StatusCode::BAD_REQUEST, &body)
            }
            Self::InvalidClient => {
                let body = json!({ "error": "invalid_client" });
                let challenge = HeaderValue::from_static("Basic realm=\"authorization server\"");
                let response = json(StatusCode::UNAUTHORIZED, &body);
                with_header(response, header::WWW_AUTHENTICATE, challenge)
            }
            Self::NotAcceptable => bare(StatusCode::NOT_ACCEPTABLE),
            Self::InvalidToken => {
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                with_header(bare(StatusCode::UNAUTHORIZED), header::WWW_AUTHENTICATE, challenge)
            }
            Self::Status(status) => bare(status),
            Self::WrongMethod(allowed) => {
                let allowed = HeaderValue::from_static(allowed);
                with_header(bare(StatusCode::METHOD_NOT_ALLOWED), header::ALLOW, allowed)
            }
        }
    }
}

/// Returns a media type without its parameters, in lower case.
pub(super) fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns a response of JSON that must not be stored.
pub(super) fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("application/json");
    no_store(with_header(response, header::CONTENT_TYPE, media_type))
}

/// Returns a response without a body that must not be stored.
pub(super) fn bare(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    no_store(response)
}

pub(super) fn no_store(response: Response<Bytes>) -> Response<Bytes> {
    with_header(response, header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

fn with_header(
    mut response: Response<Bytes>,
    name: HeaderName,
    value: HeaderValue,
) -> Response<Bytes> {
    response.headers_mut().insert(name, value);
    response
}
