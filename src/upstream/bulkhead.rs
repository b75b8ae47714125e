//! A limit on the number of concurrent verifications.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_layer::Layer;

use crate::{
    error::{failure::Fault, kind::ErrorKind, refusal::VerifyError},
    verify::{
        request::VerifyRequest,
        stats::{Counter, Stats},
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// The default limit. A server that takes 20 ms per response then still serves some three thousand
/// introspection requests per second.
const DEFAULT_LIMIT: usize = 64;

/// The `Retry-After` of a refusal because the limit is reached.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A layer that limits the number of concurrent verifications.
///
/// Verifications over the limit are refused at once with [`Unavailable`](ErrorKind::Unavailable). A
/// queue would only let requests wait for an outcome that their clients no longer wait for. Place
/// it *outside* of a [`CircuitBreakerLayer`](super::CircuitBreakerLayer), so that a reached limit
/// does not count as a failure of the server.
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     upstream::BulkheadLayer,
///     verify::{Verifier, VerifyRequest, verify_fn},
/// };
/// use tower_layer::Layer;
///
/// let remote = verify_fn(async |_| std::future::pending().await);
/// let verifier = BulkheadLayer::new(1).layer(remote);
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// let first = verifier.verify(request.clone()).now_or_later().unwrap_err();
/// let second = verifier.verify(request).now_or_later().expect("refused at once");
/// assert_eq!(second.unwrap_err().kind(), ErrorKind::Unavailable);
/// # drop(first);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BulkheadLayer {
    limit: usize,
}

impl BulkheadLayer {
    /// Creates a layer that allows `limit` concurrent verifications.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl Default for BulkheadLayer {
    /// Creates a layer that allows 64 concurrent verifications.
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl<V> Layer<V> for BulkheadLayer {
    type Service = Bulkhead<V>;

    fn layer(&self, inner: V) -> Bulkhead<V> {
        let slots = Arc::new(Semaphore::new(self.limit.min(Semaphore::MAX_PERMITS)));
        Bulkhead { inner, slots, shed: Arc::default() }
    }
}

/// The verifier of a [`BulkheadLayer`]. Clones share the limit.
#[derive(Clone)]
pub struct Bulkhead<V> {
    inner: V,
    slots: Arc<Semaphore>,
    shed: Arc<Counter>,
}

impl<V> Bulkhead<V> {
    /// Returns how many verifications were refused.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { shed: self.shed.get(), ..Stats::default() }
    }

    /// Returns a reference to the inner verifier.
    pub const fn get_ref(&self) -> &V {
        &self.inner
    }
}

impl<V: Verifier> Verifier for Bulkhead<V> {
    type Future = BulkheadFuture<V::Future>;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.shed.add_one();
            return Verifying::done(Err(VerifyError::new(ErrorKind::Unavailable)
                .with_context("too many verifications are under way")
                // The server is there: old facts would hide a revocation.
                .with_fault(Fault::NotToken { allows_stale: false, charges_peer: false })
                .with_retry_after(RETRY_AFTER)));
        };
        self.inner.verify(request).map_future(|future| BulkheadFuture { future, permit })
    }
}

impl<V> fmt::Debug for Bulkhead<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("free", &self.slots.available_permits())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Bulkhead`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the verification and frees its permit.
    pub struct BulkheadFuture<F> {
        #[pin]
        future: F,
        permit: OwnedSemaphorePermit,
    }
}

impl<F: Future<Output = Outcome>> Future for BulkheadFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.project().future.poll(cx)
    }
}

impl<F> fmt::Debug for BulkheadFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadFuture").finish_non_exhaustive()
    }
}
