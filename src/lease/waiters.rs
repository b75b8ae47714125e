//! The tasks and bodies that wait for the end of a lease.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
};

use tokio::sync::Notify;

use super::end::StreamEnd;

/// A value that ends with its lease.
pub(super) trait EndWithLease: Send + Sync {
    /// Drops the value and wakes who polls it. Returns false if it is being polled, or if the rest of
    /// an event is waited for, unless `now` is true. Never blocks for long itself.
    fn end(&self, now: bool) -> bool;
}

/// Ends a value. Returns false if that is to be tried again.
pub(super) fn end_held(held: &WeakHeld, now: bool) -> bool {
    // Code of the application that panics as it is dropped must not end the streams of others.
    let end = AssertUnwindSafe(|| held.upgrade().is_none_or(|held| held.end(now)));
    catch_unwind(end).unwrap_or(true)
}

/// A weak reference to a value that ends with its lease.
pub(super) type WeakHeld = Weak<dyn EndWithLease>;

/// The waiters for the end of a lease, most often one body; or the end itself.
pub(super) enum Waiters {
    Ended(StreamEnd),
    Nobody,
    One(WeakHeld),
    Several(Box<Several>),
}

#[derive(Default)]
pub(super) struct Several {
    pub(super) held: Vec<WeakHeld>,
    pub(super) tasks: Arc<Notify>,
}

impl Waiters {
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Nobody)
    }

    /// Returns where several may wait, or the end.
    pub(super) fn several(&mut self) -> Result<&mut Several, StreamEnd> {
        let several = match self.take() {
            Self::Ended(end) => {
                *self = Self::Ended(end.clone());
                return Err(end);
            }
            Self::Nobody => Box::default(),
            Self::One(held) => Box::new(Several { held: vec![held], ..Several::default() }),
            Self::Several(several) => several,
        };
        *self = Self::Several(several);
        match self {
            Self::Several(several) => Ok(several),
            _ => unreachable!("it was set"),
        }
    }

    /// Adds a value. Returns false if the lease has ended.
    pub(super) fn add(&mut self, new: WeakHeld) -> bool {
        match self {
            Self::Nobody => *self = Self::One(new),
            Self::One(held) if held.strong_count() == 0 => *held = new,
            _ => {
                let Ok(Several { held, .. }) = self.several() else { return false };
                held.retain(|held| held.strong_count() > 0);
                held.push(new);
            }
        }
        true
    }
}
