//! The service for revocation by hand, without the layer that protects it.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::desk::Desk;

/// A service that trusts the layer around it to admit only callers who may revoke.
pub(crate) struct ByHand<B> {
    desk: Arc<Desk>,
    body: fn(Bytes) -> B,
}

impl<B> ByHand<B> {
    pub(crate) fn new(desk: Desk, body: fn(Bytes) -> B) -> Self {
        Self { desk: Arc::new(desk), body }
    }
}

impl<Q, B> Service<Request<Q>> for ByHand<B>
where
    Q: Body + Send + 'static,
    Q::Data: Send,
    Q::Error: Send,
    B: 'static,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (desk, respond) = (Arc::clone(&self.desk), self.body);
        let (head, body) = request.into_parts();
        Box::pin(async move { Ok(desk.answer(head, body).await.map(respond)) })
    }
}

impl<B> Clone for ByHand<B> {
    fn clone(&self) -> Self {
        Self { desk: Arc::clone(&self.desk), body: self.body }
    }
}

impl<B> fmt::Debug for ByHand<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHand").field("desk", &self.desk).finish_non_exhaustive()
    }
}
