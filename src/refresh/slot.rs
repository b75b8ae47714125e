//! A slot for a value that is read much more often than it is replaced.

use std::sync::Arc;

/// A slot that is empty or holds a value.
///
/// Readers of a loaded key set must not wait for each other, so the slot is lock-free where tokens
/// are verified locally.
#[cfg(feature = "jwt")]
pub(super) struct Slot<T>(arc_swap::ArcSwapOption<T>);

#[cfg(feature = "jwt")]
impl<T> Slot<T> {
    pub(super) fn read<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.load().as_deref().map(f)
    }

    pub(super) fn store(&self, value: T) {
        self.0.store(Some(Arc::new(value)));
    }
}

/// A slot that is empty or holds a value.
#[cfg(not(feature = "jwt"))]
pub(super) struct Slot<T>(std::sync::RwLock<Option<Arc<T>>>);

#[cfg(not(feature = "jwt"))]
impl<T> Slot<T> {
    pub(super) fn read<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        let value = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        value.as_deref().map(f)
    }

    pub(super) fn store(&self, value: T) {
        let mut slot = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *slot = Some(Arc::new(value));
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Default::default())
    }
}
