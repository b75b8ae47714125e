//! The services that refuse requests, and give them back.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::Request;
use tower_service::Service;

/// A refused request, and the response to it.
#[derive(Debug)]
pub struct Refused<Res, B> {
    pub(crate) response: Res,
    pub(crate) request: Request<B>,
}

/// What became of a request: something of the inner service, or a refusal.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    clippy::large_enum_variant,
    reason = "only this crate makes one, and moves it once; a box would cost each refusal"
)]
pub enum Judged<T, Res, B> {
    /// The inner service was called.
    Admitted(T),
    /// The inner service was not called.
    Refused(Refused<Res, B>),
}

/// The result of polling a call.
pub(crate) type PolledCall<Res, E, B> = Poll<Result<Judged<Res, Res, B>, E>>;

/// A service that refuses requests, and can give back the request that it refuses.
///
/// Only the services of this crate implement it. They drop the request where it is not asked for.
#[diagnostic::on_unimplemented(
    message = "`ReadRefusedLayer` does not fit around the layer of `{Self}`",
    note = "it goes directly around an `IntrospectLayer` or a `RequireLayer`"
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
