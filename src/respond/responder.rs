//! Turns refusals into responses.

use http::Response;

use super::refusal::Refusal;

/// Turns a refusal into a response.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not render refusals as responses with the body `{B}`",
    label = "not a responder for this body",
    note = "`respond::Auto` and `respond::HttpOnly` need a body that is `Default`, `respond::ProblemJson` one that is also `From<Bytes>`",
    note = "for any other body, pass a closure `|refusal: &Refusal<'_>| -> http::Response<{B}>`"
)]
pub trait Respond<B> {
    /// Renders the response to the client whose request is refused.
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B>;
}

/// A responder that answers gRPC clients in gRPC and all others in HTTP, with an empty body.
///
/// [`RequestHead::is_grpc`](crate::credentials::RequestHead::is_grpc) tells them apart.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Auto;

impl Auto {
    /// Creates the responder. See the [module docs](super) for an example.
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

/// A responder that always answers in HTTP, with an empty body.
///
/// Use it for services that do not serve gRPC. A refusal in gRPC has the HTTP status 200, and any
/// client can ask for one by its `Content-Type`. Whatever reads the status alone, such as a proxy, a
/// cache or a dashboard, would take such a refusal for a success.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HttpOnly;

impl HttpOnly {
    /// Creates the responder.
    ///
    /// ```
    /// use http::{HeaderMap, Method, Response, StatusCode, Uri, Version, header::CONTENT_TYPE};
    /// use tower_introspect::{
    ///     ErrorKind, VerifyError,
    ///     credentials::RequestHead,
    ///     respond::{Challenge, HttpOnly, Refusal, Respond},
    /// };
    ///
    /// let (method, uri, mut headers) = (Method::POST, Uri::from_static("/"), HeaderMap::new());
    /// headers.insert(CONTENT_TYPE, "application/grpc".parse()?);
    /// let head = RequestHead::new(&method, &uri, &headers).with_version(Version::HTTP_2);
    /// let (error, challenge) = (VerifyError::new(ErrorKind::Expired), Challenge::new("api"));
    ///
    /// let response: Response<String> = HttpOnly::new().respond(&Refusal::new(&error, head, &challenge));
    /// assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<B: Default> Respond<B> for HttpOnly {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        refusal.http()
    }
}

/// Renders a refusal, and stores the error in the extensions of the response.
pub(crate) fn render<R, B>(responder: &R, refusal: &Refusal<'_>) -> Response<B>
where
    R: Respond<B> + ?Sized,
{
    let mut response = responder.respond(refusal);
    response.extensions_mut().insert(refusal.error.clone());
    response
}

impl<F, B> Respond<B> for F
where
    F: Fn(&Refusal<'_>) -> Response<B>,
{
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        self(refusal)
    }
}
