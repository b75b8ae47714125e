//! The head of a request.

use std::fmt;

use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Uri,
    header::{ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN},
};

/// The head of a request: method, target, headers and extensions.
///
/// Its `Debug` output shows only the method and the path, because the rest may hold a token.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    extensions: Option<&'a Extensions>,
}

impl<'a> RequestHead<'a> {
    /// Creates a head from its parts, without extensions.
    #[must_use]
    pub const fn new(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        Self { method, uri, headers, extensions: None }
    }

    /// Returns the head of `request`.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        let extensions = Some(request.extensions());
        Self { extensions, ..Self::new(request.method(), request.uri(), request.headers()) }
    }

    /// Adds the extensions of the request.
    pub(crate) const fn with_extensions(mut self, extensions: &'a Extensions) -> Self {
        self.extensions = Some(extensions);
        self
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the request target.
    #[must_use]
    pub const fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// Returns the header fields.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns true if the request is a CORS preflight. A preflight carries no credentials.
    #[must_use]
    pub fn is_cors_preflight(&self) -> bool {
        self.method == Method::OPTIONS
            && self.headers.contains_key(ORIGIN)
            && self.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Returns an extension that the server or an outer layer has set, such as the peer address.
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&'a T> {
        self.extensions?.get()
    }

    /// Returns true if the content type is that of gRPC or gRPC-Web.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        grpc_content_type(self.headers.get(CONTENT_TYPE)).is_some()
    }
}

impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("path", &self.uri.path())
            .finish_non_exhaustive()
    }
}

/// Returns the content type of the response, or `None` if the request is not gRPC.
///
/// `requested`, the type of the request, is `application/grpc`, `-web` or `-web-text`, with an
/// optional message format and parameters.
pub(crate) fn grpc_content_type(requested: Option<&HeaderValue>) -> Option<&'static str> {
    const TYPES: [&str; 3] =
        ["application/grpc-web-text", "application/grpc-web", "application/grpc"];
    let requested = requested?.as_bytes();
    TYPES.into_iter().find(|name| {
        let Some((head, tail)) = requested.split_at_checked(name.len()) else { return false };
        head.eq_ignore_ascii_case(name.as_bytes())
            && matches!(tail.first(), None | Some(b'+' | b';' | b' '))
    })
}
