//! Rendering of refusals over HTTP.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::{refusal::Refusal, table::row};
use crate::error::{kind::ErrorKind, refusal::VerifyError};

/// The header with the nonce for the next proofs of the client (RFC 9449 §8.1, §9).
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The default `Retry-After` of errors of unavailability.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) fn render<B: Default>(refusal: &Refusal<'_>) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = row(refusal.error.kind()).status;
    insert_headers(refusal, response.headers_mut());
    response
}

/// Sets the headers that both renderings share. In gRPC they are metadata.
pub(super) fn insert_headers(refusal: &Refusal<'_>, headers: &mut HeaderMap) {
    // The next token may be accepted, so the refusal must not be stored. RFC 9111 §3.5 leaves this
    // to the server.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // One field per challenge, because not every client parses a list (RFC 9110 §11.6.1).
    for challenge in refusal.challenge.headers(refusal.error, refusal.scheme()) {
        headers.append(WWW_AUTHENTICATE, challenge);
    }
    if let Some(nonce) = refusal.error.nonce() {
        headers.insert(DPOP_NONCE, nonce.clone());
    }
    if let Some(after) = retry_after(refusal.error) {
        headers.insert(RETRY_AFTER, in_seconds(after));
    }
}

/// Returns the value of `Retry-After`, rounded up to whole seconds so that no client is early.
pub(crate) fn in_seconds(after: Duration) -> HeaderValue {
    after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).into()
}

/// Returns the `Retry-After` of a refusal.
fn retry_after(error: &VerifyError) -> Option<Duration> {
    let default = match error.kind() {
        ErrorKind::ClockWrong
        | ErrorKind::KeyPending
        | ErrorKind::Unavailable
        | ErrorKind::ReplayUnavailable
        | ErrorKind::TooManyStreams => Some(DEFAULT_RETRY_AFTER),
        _ => None,
    };
    error.retry_after().or(default)
}

impl Refusal<'_> {
    /// Renders the response of an HTTP API: status, `WWW-Authenticate`, `Retry-After`, no body.
    #[must_use]
    pub fn http<B: Default>(&self) -> Response<B> {
        render(self)
    }
}
