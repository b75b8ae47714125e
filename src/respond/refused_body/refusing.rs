//! The services that refuse requests, and give their bodies back.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Version, header::EXPECT, request::Parts};
use tower_service::Service;

/// The response to a refused request, with what may have to be read before it is sent.
#[derive(Debug)]
pub struct Refused<Res, B> {
    pub(crate) response: Res,
    /// The body of the request, if the client may wait for it to be read, as far as the head tells.
    pub(super) body: Option<B>,
}

impl<Res, B> Refused<Res, B> {
    /// Refuses a request with the response that `render` makes of its head.
    pub(crate) fn of(request: Request<B>, render: impl FnOnce(Parts) -> Res) -> Self {
        let (head, body) = request.into_parts();
        // A server asks a client that expects a response for the body when it is first read
        // (RFC 9110 §10.1.1).
        let may_wait = head.version < Version::HTTP_2 && !head.headers.contains_key(EXPECT);
        Self { response: render(head), body: may_wait.then_some(body) }
    }

    /// Changes the response.
    pub(crate) fn map<Res2>(self, change: impl FnOnce(Res) -> Res2) -> Refused<Res2, B> {
        Refused { response: change(self.response), body: self.body }
    }
}

/// The decision on a request, with something of the inner service or with the refusal.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "only this crate makes one")]
pub enum Judged<T, Res, B> {
    /// The inner service was called.
    Admitted(T),
    /// The inner service was not called.
    Refused(Refused<Res, B>),
}

/// The result of polling a call.
pub(crate) type PolledCall<Res, E, B> = Poll<Result<Judged<Res, Res, B>, E>>;

/// A service that refuses requests, and can give back the body of the request that it refuses.
///
/// Only the services of this crate implement it. They drop the body where it is not asked for.
#[diagnostic::on_unimplemented(
    message = "`ReadRefusedLayer` does not fit around the layer of `{Self}`",
    note = "it goes directly around an `IntrospectLayer`, a `StreamLayer` or a `RequireLayer`"
)]
pub trait Refusing<B>: Service<Request<B>> {
    /// Calls the service, unless it refuses the request at once.
    #[doc(hidden)]
    fn call_or_refuse(&mut self, request: Request<B>) -> Judged<Self::Future, Self::Response, B>;

    /// Polls the future of a call.
    #[doc(hidden)]
    fn poll_or_refuse(
        future: Pin<&mut Self::Future>,
        cx: &mut Context<'_>,
    ) -> PolledCall<Self::Response, Self::Error, B>;
}
