//! A value that a stream is made from, until the lease of the stream ends.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::{end::StreamEnd, lease::Lease, waiters::EndWithLease};

/// A value that is dropped when its lease ends, also if nobody polls it.
///
/// The peer of a stream may stop to read. The server then does not poll the body, and what the
/// handler holds for it would live for as long as the peer likes.
pub(super) struct Held<T> {
    lease: Lease,
    /// True once the time for the rest of an event is over.
    is_overdue: AtomicBool,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    value: Value<T>,
    waker: Option<Waker>,
}

enum Value<T> {
    Dropped,
    Held(Pin<Box<T>>),
    /// In the middle of an event. It may be polled for the rest, although the lease has ended.
    MidEvent(Pin<Box<T>>),
}

impl<T> Value<T> {
    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Dropped)
    }
}

/// The outcome of polling a value.
pub(super) enum Polled<R> {
    /// The lease has ended, and the value is dropped.
    Ended(StreamEnd),
    /// The outcome of the value.
    Value(Poll<R>),
}

impl<T: Send + 'static> Held<T> {
    pub(super) fn new(lease: Lease, value: T) -> Arc<Self> {
        let inner = Inner { value: Value::Held(Box::pin(value)), waker: None };
        let is_overdue = AtomicBool::new(false);
        let held = Arc::new(Self { lease, is_overdue, inner: Mutex::new(inner) });
        let erased: Arc<dyn EndWithLease> = Arc::clone(&held) as _;
        if !held.lease.hold(Arc::downgrade(&erased)) {
            held.end(true);
        }
        held
    }

    pub(super) const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Calls `f` with the value. Returns `None` if it is dropped.
    pub(super) fn peek<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        match &self.lock().value {
            Value::Dropped => None,
            Value::Held(value) | Value::MidEvent(value) => Some(f(value)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the value with `poll`, unless the lease has ended.
    ///
    /// `at_boundary` tells of an outcome if the stream may end after it.
    pub(super) fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<R>,
        at_boundary: impl FnOnce(&R) -> bool,
    ) -> Polled<R> {
        let mut inner = self.lock();
        if self.is_to_end(&inner) {
            return self.end_of(inner, None);
        }
        if inner.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        let polled = match &mut inner.value {
            Value::Dropped => return Polled::Value(Poll::Pending),
            Value::Held(value) | Value::MidEvent(value) => poll(value.as_mut(), cx),
        };
        if let Poll::Ready(outcome) = &polled {
            inner.value = match (inner.value.take(), at_boundary(outcome)) {
                (Value::Held(value) | Value::MidEvent(value), true) => Value::Held(value),
                (Value::Held(value) | Value::MidEvent(value), false) => Value::MidEvent(value),
                (Value::Dropped, _) => Value::Dropped,
            };
        }
        // The lease may have ended meanwhile, and found the value in use.
        drop(inner);
        if self.lease.has_ended() {
            let inner = self.lock();
            if self.is_to_end(&inner) {
                return self.end_of(inner, Some(polled));
            }
        }
        Polled::Value(polled)
    }

    fn is_to_end(&self, inner: &Inner<T>) -> bool {
        let may_end = || {
            !matches!(inner.value, Value::MidEvent(_)) || self.is_overdue.load(Ordering::Acquire)
        };
        self.lease.has_ended() && may_end()
    }

    /// Drops the value, and returns the outcome of the last poll if there is one.
    fn end_of<R>(&self, mut inner: MutexGuard<'_, Inner<T>>, polled: Option<Poll<R>>) -> Polled<R> {
        let value = inner.value.take();
        drop(inner);
        // Without the lock: it runs code of the application.
        drop(value);
        match (polled, self.lease.end()) {
            (Some(Poll::Ready(outcome)), _) => Polled::Value(Poll::Ready(outcome)),
            (_, Some(end)) => Polled::Ended(end),
            (_, None) => Polled::Value(Poll::Pending),
        }
    }
}

impl<T: Send + 'static> EndWithLease for Held<T> {
    fn end(&self, now: bool) -> bool {
        self.is_overdue.fetch_or(now, Ordering::Release);
        let mut inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(inner)) => inner.into_inner(),
            // It is being polled, for as long as its code blocks. Who polls it sees afterwards that the
            // lease has ended, but may be in the middle of an event then.
            Err(TryLockError::WouldBlock) => return false,
        };
        let waits = !now && matches!(inner.value, Value::MidEvent(_));
        let value = if waits { Value::Dropped } else { inner.value.take() };
        let waker = inner.waker.take();
        drop(inner);
        drop(value);
        if let Some(waker) = waker {
            waker.wake();
        }
        !waits
    }
}
