//! A limit on how many verifications are under way.

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

use crate::error::{kind::ErrorKind, refusal::VerifyError};
use crate::verify::{
    Outcome, Verifier, Verifying,
    request::VerifyRequest,
    stats::{Counter, Stats},
};

/// Calls under way, unless configured. A server that answers in 20 ms then still answers some three
/// thousand questions a second.
const DEFAULT_LIMIT: usize = 64;

/// When a client that finds no room may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Limits how many verifications are under way at a time.
///
/// What is over the limit is refused at once, with [`Unavailable`](ErrorKind::Unavailable): a
/// queue would only let requests wait for an answer that their clients no longer wait for. Put it
/// *outside* of a [`CircuitBreakerLayer`](super::CircuitBreakerLayer), for which a full house is no
/// failure of the server.
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     verify::{BulkheadLayer, Verifier, VerifyRequest, verify_fn},
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
    /// At most `limit` verifications at a time.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl Default for BulkheadLayer {
    /// At most 64 at a time.
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl<V> Layer<V> for BulkheadLayer {
    type Service = Bulkhead<V>;

    fn layer(&self, inner: V) -> Bulkhead<V> {
        let room = Arc::new(Semaphore::new(self.limit.min(Semaphore::MAX_PERMITS)));
        Bulkhead { inner, room, counters: Arc::default() }
    }
}

/// The verifier of a [`BulkheadLayer`]. Clones share the limit.
#[derive(Clone)]
pub struct Bulkhead<V> {
    inner: V,
    room: Arc<Semaphore>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    shed: Counter,
}

impl<V> Bulkhead<V> {
    /// How many were refused.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { shed: self.counters.shed.get(), ..Stats::default() }
    }

    /// The verifier inside.
    pub const fn get_ref(&self) -> &V {
        &self.inner
    }
}

impl<V: Verifier> Verifier for Bulkhead<V> {
    type Future = BulkheadFuture<V::Future>;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            self.counters.shed.add_one();
            return Verifying::done(Err(VerifyError::new(ErrorKind::Unavailable)
                .with_context("too many verifications are under way")
                .with_retry_after(RETRY_AFTER)));
        };
        self.inner.verify(request).map_future(|future| BulkheadFuture { future, permit })
    }
}

impl<V> fmt::Debug for Bulkhead<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("free", &self.room.available_permits())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Bulkhead`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the verification and makes room for another.
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
