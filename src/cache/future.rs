use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::state::{CacheState, Miss};
use crate::verify::verifier::{Outcome, Verifier};

pin_project! {
    /// The future of [`Cache`](super::Cache) for a token without a usable cache entry.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the verification. Nothing is cached.
    pub struct CacheFuture<V: Verifier> {
        #[pin]
        future: V::Future,
        cache: Arc<CacheState<V>>,
        miss: Option<Miss>,
    }
}

impl<V: Verifier> CacheFuture<V> {
    pub(super) const fn new(future: V::Future, cache: Arc<CacheState<V>>, miss: Miss) -> Self {
        Self { future, cache, miss: Some(miss) }
    }
}

impl<V: Verifier> Future for CacheFuture<V> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        let outcome = ready!(this.future.poll(cx));
        let miss = this.miss.take().expect("polled after completion");
        Poll::Ready(this.cache.finish(miss, outcome))
    }
}

impl<V: Verifier> fmt::Debug for CacheFuture<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheFuture").finish_non_exhaustive()
    }
}
