//! Rendering of refusals over gRPC: trailers only (gRPC over HTTP/2, "Responses").

use http::{HeaderName, HeaderValue, Response, header::CONTENT_TYPE};

use super::{http::insert_headers, refusal::Refusal, table::row};
use crate::credentials::media_type::{GrpcMediaType, grpc_media_type};

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

pub(super) fn render<B: Default>(refusal: &Refusal<'_>) -> Response<B> {
    let mut response = Response::new(B::default());
    let media_type = grpc_media_type(refusal.head.headers()).unwrap_or(GrpcMediaType::Grpc);
    let row = row(refusal.error.kind());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type.as_str()));
    headers.insert(GRPC_STATUS, HeaderValue::from_static(row.grpc.code()));
    // The messages of the table need no percent-encoding.
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(row.message));
    insert_headers(refusal, headers);
    response
}

impl Refusal<'_> {
    /// Renders the response of a gRPC service: HTTP 200 and trailers only (gRPC over HTTP/2,
    /// "Responses").
    #[must_use]
    pub fn grpc<B: Default>(&self) -> Response<B> {
        render(self)
    }
}
