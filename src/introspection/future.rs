//! The future of [`IntrospectionVerifier`](super::IntrospectionVerifier).

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use crate::verify::verifier::Outcome;

/// The future of an introspection.
///
/// # Cancellation
///
/// Dropping it drops the request to the authorization server. No other caller waits for that
/// request. A fetch of metadata or keys continues.
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Outcome> + Send>>);

impl ResponseFuture {
    pub(super) fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for ResponseFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
