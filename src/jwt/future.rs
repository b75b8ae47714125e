//! The future of [`JwtVerifier`](super::JwtVerifier).
//!
//! ```
//! use tower_introspect::{jwt::{JwtVerifier, future::VerifyFuture}, verify::Verifier};
//!
//! fn is_its_future<V: Verifier<Future = VerifyFuture>>() {}
//! is_its_future::<JwtVerifier>();
//! ```

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use crate::verify::verifier::Outcome;

/// The future of a verification that waits for keys.
///
/// It is boxed: it exists only if keys must be fetched, and then one more allocation does not
/// matter.
///
/// # Cancellation
///
/// Dropping it stops the waiting, not the fetch, because other verifications may wait for it too.
#[must_use = "a verification does nothing unless polled"]
pub struct VerifyFuture(Pin<Box<dyn Future<Output = Outcome> + Send>>);

impl VerifyFuture {
    pub(super) fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for VerifyFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for VerifyFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyFuture").finish_non_exhaustive()
    }
}
