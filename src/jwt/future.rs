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

use crate::verify::Outcome;

/// A verification that waits for keys.
///
/// Only where keys must be fetched is there something to wait for; then one more allocation is no
/// matter.
///
/// # Cancellation
///
/// Dropping it stops the waiting, not the fetch, which others may be waiting for too.
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
