//! The streams that end with a lease.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;

use super::{
    end::StreamEnd,
    held::{Held, Polled},
    lease::Lease,
};

/// A stream that ends with a lease. See [`Lease::guard`].
pub struct Guarded<S> {
    /// `None` once the stream has ended.
    held: Option<Arc<Held<S>>>,
}

/// A stream that ends with a lease, by an error. See [`Lease::try_guard`].
pub struct TryGuarded<S>(Guarded<S>);

/// Guarding streams.
impl Lease {
    /// Returns a stream that ends with this lease, as if there were nothing more.
    ///
    /// The inner stream is dropped as soon as the lease ends, also if nobody polls this one.
    ///
    /// ```
    /// use futures_util::Stream;
    /// use tower_introspect::stream::Lease;
    ///
    /// fn ticks(lease: &Lease, ticks: impl Stream<Item = u64> + Send + 'static) -> impl Stream<Item = u64> {
    ///     lease.guard(ticks)
    /// }
    /// # let _ = |lease: &Lease| drop(ticks(lease, futures_util::stream::empty()));
    /// ```
    pub fn guard<S: Stream + Send + 'static>(&self, stream: S) -> Guarded<S> {
        Guarded::new(self.clone(), stream)
    }

    /// Returns a stream that ends with this lease, by the [`StreamEnd`] as its last error.
    ///
    /// For streams that a protocol would take for complete without an error: those of tonic have an
    /// error for it.
    ///
    /// ```
    /// use futures_util::Stream;
    /// use tower_introspect::stream::{Lease, StreamEnd};
    ///
    /// fn rows<S>(lease: &Lease, rows: S) -> impl Stream<Item = Result<String, StreamEnd>>
    /// where
    ///     S: Stream<Item = Result<String, StreamEnd>> + Send + 'static,
    /// {
    ///     lease.try_guard(rows)
    /// }
    /// # let _ = rows::<futures_util::stream::Empty<Result<String, StreamEnd>>>;
    /// ```
    pub fn try_guard<S, T, E>(&self, stream: S) -> TryGuarded<S>
    where
        S: Stream<Item = Result<T, E>> + Send + 'static,
        E: From<StreamEnd>,
    {
        TryGuarded::new(self.clone(), stream)
    }
}

impl<S: Stream + Send + 'static> Guarded<S> {
    fn new(lease: Lease, stream: S) -> Self {
        Self { held: Some(Held::new(lease, stream)) }
    }

    /// Polls the stream. Returns the end as `Err`, once.
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<S::Item, StreamEnd>>> {
        let Some(held) = &self.held else { return Poll::Ready(None) };
        let item = match held.poll(cx, S::poll_next, |_| true) {
            Polled::Ended(end) => Some(Err(end)),
            Polled::Value(Poll::Ready(item)) => item.map(Ok),
            Polled::Value(Poll::Pending) => return Poll::Pending,
        };
        if !matches!(item, Some(Ok(_))) {
            self.held = None;
        }
        Poll::Ready(item)
    }
}

impl<S: Stream + Send + 'static> Stream for Guarded<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.get_mut().poll_item(cx).map(|item| item?.ok())
    }
}

impl<S: Stream + Send + 'static> TryGuarded<S> {
    fn new(lease: Lease, stream: S) -> Self {
        Self(Guarded::new(lease, stream))
    }
}

impl<S, T, E> Stream for TryGuarded<S>
where
    S: Stream<Item = Result<T, E>> + Send + 'static,
    E: From<StreamEnd>,
{
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_item(cx).map(|item| match item? {
            Ok(item) => Some(item),
            Err(end) => Some(Err(end.into())),
        })
    }
}

impl<S> fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("ended", &self.held.is_none()).finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for TryGuarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TryGuarded").field(&self.0).finish()
    }
}
