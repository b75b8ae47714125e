use bytes::Bytes;
use http::{HeaderValue, Method, Response, header::CONTENT_TYPE};

use super::{
    refusal::Refusal,
    responder::Respond,
    table::{ChallengeForm, row},
};

/// A responder like [`Auto`](super::Auto) that adds a problem document for HTTP clients (RFC 9457).
///
/// The document says no more than the status and the challenge do.
///
/// ```
/// use bytes::Bytes;
/// use http::{HeaderMap, Method, Response, Uri};
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::RequestHead,
///     respond::{Challenge, ProblemJson, Refusal, Respond},
/// };
///
/// let (method, uri, headers) = (Method::GET, Uri::from_static("/"), HeaderMap::new());
/// let error = VerifyError::new(ErrorKind::Inactive);
/// let challenge = Challenge::new("api");
/// let refusal = Refusal::new(&error, RequestHead::new(&method, &uri, &headers), &challenge);
/// let response: Response<Bytes> = ProblemJson::new().respond(&refusal);
/// assert_eq!(
///     response.body(),
///     r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"invalid token","error":"invalid_token"}"#
/// );
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ProblemJson {
    http_only: bool,
}

impl ProblemJson {
    /// Creates the responder. It answers gRPC clients in gRPC.
    #[must_use]
    pub const fn new() -> Self {
        Self { http_only: false }
    }

    /// Creates a responder that answers every client in HTTP, like
    /// [`HttpOnly`](super::HttpOnly).
    ///
    /// ```
    /// use tower_introspect::{ErrorKind, IntrospectLayer, Policy, respond::ProblemJson, verify::verify_fn};
    ///
    /// let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
    /// let layer = IntrospectLayer::new(closed, Policy::new("https://api.example.com"))
    ///     .responder(ProblemJson::http_only());
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub const fn http_only() -> Self {
        Self { http_only: true }
    }
}

impl<B: Default + From<Bytes>> Respond<B> for ProblemJson {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        if !self.http_only && refusal.head.is_grpc() {
            return refusal.grpc();
        }
        let mut response = refusal.http::<B>();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // A response to HEAD has no content (RFC 9110 §9.3.2).
        if refusal.head.method() != Method::HEAD {
            *response.body_mut() = document(refusal).into();
        }
        response
    }
}

/// No text needs an escape, because all of them come from the table.
fn document(refusal: &Refusal<'_>) -> Bytes {
    let row = row(refusal.error.kind());
    let title = row.status.canonical_reason().unwrap_or("Error");
    let error = match row.challenge {
        ChallengeForm::Error(code) | ChallengeForm::Proof(code) => format!(",\"error\":\"{code}\""),
        ChallengeForm::Absent | ChallengeForm::Bare => String::new(),
    };
    let (status, detail) = (row.status.as_u16(), row.message);
    format!(
        r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"{error}}}"#
    )
    .into()
}
