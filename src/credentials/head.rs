//! The head of a request.

use std::fmt;

use http::{
    Extensions, HeaderMap, Method, Request, Uri, Version,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

use super::media_type::grpc_media_type;

/// The head of a request: method, target, version, headers and extensions.
///
/// Its `Debug` output shows only the method and the path, because the rest may hold a token.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    pub(super) headers: &'a HeaderMap,
    extensions: Option<&'a Extensions>,
}

impl<'a> RequestHead<'a> {
    /// Creates a head of a request by HTTP/1.1 from its parts, without extensions.
    #[must_use]
    pub const fn new(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        Self { method, uri, version: Version::HTTP_11, headers, extensions: None }
    }

    /// Returns the head of `request`.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self::new(request.method(), request.uri(), request.headers())
            .with_version(request.version())
            .with_extensions(request.extensions())
    }

    /// Sets the version of HTTP by which the request came.
    ///
    /// ```
    /// use http::{HeaderMap, Method, Uri, Version, header::CONTENT_TYPE};
    /// use tower_introspect::credentials::RequestHead;
    ///
    /// let (method, uri, mut headers) = (Method::POST, Uri::from_static("/a.B/C"), HeaderMap::new());
    /// headers.insert(CONTENT_TYPE, "application/grpc".parse()?);
    /// let head = RequestHead::new(&method, &uri, &headers);
    /// assert!(!head.is_grpc());
    /// assert!(head.with_version(Version::HTTP_2).is_grpc());
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    #[must_use]
    pub const fn with_version(mut self, version: Version) -> Self {
        self.version = version;
        self
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

    /// Returns the version of HTTP by which the request came.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
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

    /// Returns true if the client must be answered in gRPC or gRPC-Web.
    ///
    /// Such a request is a POST whose only `Content-Type` is exactly the media type of the protocol:
    /// `application/grpc` over HTTP/2 or later (gRPC over HTTP/2, "Requests"), or
    /// `application/grpc-web` or `application/grpc-web-text` over HTTP/1.1 or later (gRPC-Web,
    /// "Content-Type"). A message format, such as `+proto`, and parameters may follow.
    ///
    /// The client chooses all of this. A refusal in gRPC has the HTTP status 200, so a service that
    /// does not serve gRPC should use the responder [`HttpOnly`](crate::respond::HttpOnly).
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.method == Method::POST
            && grpc_media_type(self.headers)
                .is_some_and(|kind| self.version >= kind.earliest_version())
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
