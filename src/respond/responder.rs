//! Turns refusals into responses.

use http::Response;

use super::{hook::report, refusal::Refusal};

/// Turns a refusal into a response.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not render refusals as responses with the body `{B}`",
    label = "not a responder for this body",
    note = "`respond::Auto` needs a body that is `Default`, `respond::ProblemJson` one that is also `From<Bytes>`",
    note = "for any other body, pass a closure `|refusal: &Refusal<'_>| -> http::Response<{B}>`"
)]
pub trait Respond<B> {
    /// Renders the response to the client whose request is refused.
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B>;
}

/// A responder that answers gRPC clients in gRPC and all others in HTTP, with an empty body.
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

impl<F, B> Respond<B> for F
where
    F: Fn(&Refusal<'_>) -> Response<B>,
{
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        self(refusal)
    }
}
