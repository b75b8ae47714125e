use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tower_layer::Layer;

use super::{limits::Limits, service::ReadRefused};

/// A layer that reads the bodies of the requests that another layer refuses, before it sends the
/// refusal.
///
/// # Clone
///
/// Clones share the limit of [`max_concurrent`](Self::max_concurrent), and so do all services made
/// by them.
///
/// # Security
///
/// Anyone can send a request that is refused. The layer keeps nothing of its body. It holds the
/// connection, and whatever a layer outside counts for the request, for [`max_time`](Self::max_time)
/// at most. Nothing of the inner service is reserved meanwhile.
#[derive(Clone, Debug)]
pub struct ReadRefusedLayer<L> {
    refusing: L,
    limits: Limits,
}

impl<L> ReadRefusedLayer<L> {
    /// Creates a layer around one that refuses requests: an
    /// [`IntrospectLayer`](crate::IntrospectLayer), a `StreamLayer` or a
    /// [`RequireLayer`](crate::require::RequireLayer).
    ///
    /// The services that it makes run on Tokio, with its timer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::{
    ///     ErrorKind, IntrospectLayer, Policy, respond::refused_body::ReadRefusedLayer,
    ///     verify::verify_fn,
    /// };
    ///
    /// let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
    /// let layer = IntrospectLayer::new(closed, Policy::new("https://api.example.com"));
    /// let layer = ReadRefusedLayer::new(layer).max_bytes(1 << 20).max_time(Duration::from_secs(2));
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn new(refusing: L) -> Self {
        let limits = Limits {
            max_bytes: 8 << 20,
            max_time: Duration::from_secs(5),
            permits: Arc::new(Semaphore::new(128)),
        };
        Self { refusing, limits }
    }

    /// Sets how many bytes of one body are read. Default: 8 MiB.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.limits.max_bytes = bytes;
        self
    }

    /// Sets how long one body is read. Default: 5 s.
    #[must_use]
    pub const fn max_time(mut self, time: Duration) -> Self {
        self.limits.max_time = time;
        self
    }

    /// Sets how many bodies are read at the same time. Default: 128.
    ///
    /// The other requests are refused without reading their bodies.
    #[must_use]
    pub fn max_concurrent(mut self, bodies: usize) -> Self {
        self.limits.permits = Arc::new(Semaphore::new(bodies.min(Semaphore::MAX_PERMITS)));
        self
    }
}

impl<S, L: Layer<S>> Layer<S> for ReadRefusedLayer<L> {
    type Service = ReadRefused<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        ReadRefused::new(self.refusing.layer(inner), self.limits.clone())
    }
}
