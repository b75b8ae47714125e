use std::{
    fmt,
    task::{Context, Poll},
};

use http::Request;
use http_body::Body;
use tower_service::Service;

use super::{
    future::ResponseFuture,
    limits::Limits,
    refusing::{Judged, Refusing},
};

/// The service of a [`ReadRefusedLayer`](super::ReadRefusedLayer).
#[derive(Clone)]
pub struct ReadRefused<S> {
    refusing: S,
    limits: Limits,
}

impl<S> ReadRefused<S> {
    pub(super) const fn new(refusing: S, limits: Limits) -> Self {
        Self { refusing, limits }
    }

    /// Returns a reference to the service that refuses requests.
    pub const fn get_ref(&self) -> &S {
        &self.refusing
    }

    /// Returns a mutable reference to the service that refuses requests.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.refusing
    }

    /// Consumes the service and returns the service that refuses requests.
    pub fn into_inner(self) -> S {
        self.refusing
    }
}

impl<S, B> Service<Request<B>> for ReadRefused<S>
where
    S: Refusing<B>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.refusing.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.refusing.call_or_refuse(request) {
            Judged::Admitted(future) => ResponseFuture::calling(future, self.limits.clone()),
            Judged::Refused(refused) => ResponseFuture::refused(self.limits.end(refused)),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for ReadRefused<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadRefused").field("refusing", &self.refusing).finish_non_exhaustive()
    }
}
