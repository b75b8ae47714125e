//! From a refusal to a response.
//!
//! One table says what each [`ErrorKind`](crate::ErrorKind) answers, over HTTP and over gRPC. [`Auto`] renders it
//! with an empty body, so it fits every body type; [`ProblemJson`] adds a body where the type can
//! carry one. A closure or a type of your own that implements [`Respond`] may answer otherwise;
//! the [`VerifyError`] is put into the response's extensions in any case.
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
//! A responder that keeps the status and the headers and adds a body:
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

/// What of a request is known before its body.
///
/// Its `Debug` form shows the method and the path only: the rest may hold a token.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: Option<&'a Extensions>,
}

impl<'a> RequestHead<'a> {
    /// The head of a request with these parts.
    #[must_use]
    pub const fn new(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        Self { method, uri, headers, extensions: None }
    }

    /// The head of `request`.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        let extensions = Some(request.extensions());
        Self { extensions, ..Self::new(request.method(), request.uri(), request.headers()) }
    }

    /// The same, with what was left with the request.
    pub(crate) const fn with_extensions(mut self, extensions: &'a Extensions) -> Self {
        self.extensions = Some(extensions);
        self
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The request target.
    #[must_use]
    pub const fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The header fields.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// True if a browser asks whether it may send another request (CORS preflight). Such a request
    /// carries no credentials.
    #[must_use]
    pub fn is_cors_preflight(&self) -> bool {
        self.method == Method::OPTIONS
            && self.headers.contains_key(ORIGIN)
            && self.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// What a server or a layer outside has left with the request, such as the address of its peer.
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&'a T> {
        self.extensions?.get()
    }

    /// True if the client speaks gRPC or gRPC-Web, going by the content type.
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

/// A request that is refused, and why.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    error: &'a VerifyError,
    head: RequestHead<'a>,
    challenge: &'a Challenge,
    scheme: Option<Scheme>,
}

impl<'a> Refusal<'a> {
    /// The refusal of the request with this head.
    #[must_use]
    pub const fn new(
        error: &'a VerifyError,
        head: RequestHead<'a>,
        challenge: &'a Challenge,
    ) -> Self {
        Self { error, head, challenge, scheme: None }
    }

    /// Says under which scheme the token came, where the `Authorization` field can't tell: it was
    /// removed, or the token was found elsewhere.
    #[must_use]
    pub const fn presented_under(mut self, scheme: Scheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Why.
    #[must_use]
    pub const fn error(&self) -> &'a VerifyError {
        self.error
    }

    /// The request.
    #[must_use]
    pub const fn head(&self) -> RequestHead<'a> {
        self.head
    }

    /// What the service tells clients about itself.
    #[must_use]
    pub const fn challenge(&self) -> &'a Challenge {
        self.challenge
    }

    /// The scheme under which the client authenticates, if it is one and known: the one whose challenge
    /// tells what is wrong (RFC 9449 §7.2).
    #[must_use]
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme.or_else(|| Scheme::used_in(self.head.headers))
    }

    /// The response of an HTTP API: status, `WWW-Authenticate`, `Retry-After`, no body.
    #[must_use]
    pub fn http<B: Default>(&self) -> Response<B> {
        http::render(self)
    }

    /// The response of a gRPC service: HTTP 200 and trailers only (gRPC over HTTP/2, "Responses").
    #[must_use]
    pub fn grpc<B: Default>(&self) -> Response<B> {
        grpc::render(self)
    }
}

/// Turns a refusal into a response.
pub trait Respond<B> {
    /// The response to the client whose request is refused.
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

/// Answers gRPC clients in gRPC, all others in HTTP, with an empty body.
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

/// Reports the refusal, has it rendered, and leaves the reason where outer layers find it.
pub(crate) fn refuse<R, B>(responder: &R, refusal: &Refusal<'_>) -> Response<B>
where
    R: Respond<B> + ?Sized,
{
    report(refusal);
    let mut response = responder.respond(refusal);
    response.extensions_mut().insert(refusal.error.clone());
    response
}
