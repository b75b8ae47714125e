//! Rendering of refusals as HTTP and gRPC responses.
//!
//! One table maps each [`ErrorKind`](crate::ErrorKind) to a response over HTTP and over gRPC.
//! [`Auto`] renders it with an empty body, so it fits every body type. [`ProblemJson`] adds a body
//! where the type can carry one. A closure, or any type that implements [`Respond`], can render
//! another response. The [`VerifyError`] is stored in the extensions of the response in any case.
//!
//! ```
//! use http::{HeaderMap, Method, Response, StatusCode, Uri, header::WWW_AUTHENTICATE};
//! use tower_introspect::{
//!     ErrorKind, VerifyError,
//!     respond::{Auto, Challenge, Refusal, RequestHead, Respond},
//! };
//!
//! let (method, uri, headers) = (Method::GET, Uri::from_static("/"), HeaderMap::new());
//! let head = RequestHead::new(&method, &uri, &headers);
//! let error = VerifyError::new(ErrorKind::Expired);
//! let challenge = Challenge::new("https://api.example.com");
//!
//! let response: Response<String> = Auto::new().respond(&Refusal::new(&error, head, &challenge));
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(
//!     response.headers()[WWW_AUTHENTICATE],
//!     "Bearer realm=\"https://api.example.com\", error=\"invalid_token\""
//! );
//! ```
//!
//! A responder that keeps the status and the headers, and adds a body:
//!
//! ```
//! use http::Response;
//! use tower_introspect::respond::{Refusal, Respond};
//!
//! let responder = |refusal: &Refusal<'_>| -> Response<String> {
//!     refusal.http().map(|_: String| format!("refused: {}", refusal.error().kind().reason()))
//! };
//! fn is_responder<R: Respond<String>>(_: &R) {}
//! is_responder(&responder);
//! ```

pub(crate) mod challenge;
mod grpc;
pub(crate) mod hook;
pub(crate) mod http;
mod problem;
mod table;

use std::fmt;

use ::http::{
    Extensions, HeaderMap, Method, Request, Response, Uri,
    header::{ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN},
};

use self::hook::report;
pub use self::{challenge::Challenge, problem::ProblemJson};
use crate::{credentials::Scheme, error::refusal::VerifyError};

/// The head of a request: method, target, headers and extensions.
///
/// Its `Debug` output shows only the method and the path, because the rest may hold a token.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
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
        grpc::content_type(self.headers.get(CONTENT_TYPE)).is_some()
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

/// A request that is refused, and the reason.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    error: &'a VerifyError,
    head: RequestHead<'a>,
    challenge: &'a Challenge,
    scheme: Option<Scheme>,
}

impl<'a> Refusal<'a> {
    /// Creates the refusal of the request with this head.
    #[must_use]
    pub const fn new(
        error: &'a VerifyError,
        head: RequestHead<'a>,
        challenge: &'a Challenge,
    ) -> Self {
        Self { error, head, challenge, scheme: None }
    }

    /// Sets the scheme under which the token was presented.
    ///
    /// Without it, the scheme is read from the `Authorization` field. That fails if the field was
    /// removed, or if the token was found elsewhere.
    #[must_use]
    pub const fn presented_under(mut self, scheme: Scheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Returns the reason for the refusal.
    #[must_use]
    pub const fn error(&self) -> &'a VerifyError {
        self.error
    }

    /// Returns the head of the refused request.
    #[must_use]
    pub const fn head(&self) -> RequestHead<'a> {
        self.head
    }

    /// Returns the challenge that the client gets.
    #[must_use]
    pub const fn challenge(&self) -> &'a Challenge {
        self.challenge
    }

    /// Returns the scheme that the client used, if it used a single known one.
    ///
    /// The challenge of this scheme carries the error (RFC 9449 §7.2).
    #[must_use]
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme.or_else(|| Scheme::used_in(self.head.headers))
    }

    /// Renders the response of an HTTP API: status, `WWW-Authenticate`, `Retry-After`, no body.
    #[must_use]
    pub fn http<B: Default>(&self) -> Response<B> {
        http::render(self)
    }

    /// Renders the response of a gRPC service: HTTP 200 and trailers only (gRPC over HTTP/2,
    /// "Responses").
    #[must_use]
    pub fn grpc<B: Default>(&self) -> Response<B> {
        grpc::render(self)
    }
}

/// Turns a refusal into a response.
pub trait Respond<B> {
    /// Renders the response to the client whose request is refused.
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B>;
}

impl<F, B> Respond<B> for F
where
    F: Fn(&Refusal<'_>) -> Response<B>,
{
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        self(refusal)
    }
}

/// A responder that answers gRPC clients in gRPC and all others in HTTP, with an empty body.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Auto;

impl Auto {
    /// Creates the responder. See the [module docs](self) for an example.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<B: Default> Respond<B> for Auto {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        if refusal.head.is_grpc() { refusal.grpc() } else { refusal.http() }
    }
}

/// Reports a refusal, renders it, and stores the error in the extensions of the response.
pub(crate) fn refuse<R, B>(responder: &R, refusal: &Refusal<'_>) -> Response<B>
where
    R: Respond<B> + ?Sized,
{
    report(refusal);
    let mut response = responder.respond(refusal);
    response.extensions_mut().insert(refusal.error.clone());
    response
}
