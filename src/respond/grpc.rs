//! Rendering of refusals over gRPC: trailers only (gRPC over HTTP/2, "Responses").

use http::{HeaderName, HeaderValue, Response, header::CONTENT_TYPE};

use super::{Refusal, http::explain, table::row};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

pub(super) fn render<B: Default>(refusal: &Refusal<'_>) -> Response<B> {
    let mut response = Response::new(B::default());
    let asked = refusal.head.headers().get(CONTENT_TYPE);
    let content_type = content_type(asked).unwrap_or("application/grpc");
    let row = row(refusal.error.kind());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(GRPC_STATUS, HeaderValue::from_static(row.grpc.code()));
    // The messages of the table need no percent-encoding.
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(row.message));
    explain(refusal, headers);
    response
}

/// Returns the content type of the response, or `None` if the request is not gRPC.
///
/// The `asked` type is `application/grpc`, `-web` or `-web-text`, with an optional message format
/// and parameters.
pub(super) fn content_type(asked: Option<&HeaderValue>) -> Option<&'static str> {
    const TYPES: [&str; 3] =
        ["application/grpc-web-text", "application/grpc-web", "application/grpc"];
    let asked = asked?.as_bytes();
    TYPES.into_iter().find(|name| {
        let Some((head, tail)) = asked.split_at_checked(name.len()) else { return false };
        head.eq_ignore_ascii_case(name.as_bytes())
            && matches!(tail.first(), None | Some(b'+' | b';' | b' '))
    })
}
