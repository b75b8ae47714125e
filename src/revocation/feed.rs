//! Feeds, by which the instances of a service tell each other their cutoffs.

use std::{fmt, future::Future, pin::Pin};

use super::change::CutoffChange;
use crate::error::boxed::BoxError;

/// Tells the cutoffs of this instance to the other instances of a service.
///
/// [`Revocations::connect`](super::Revocations::connect) connects one. It applies what it learns from the others by
/// [`LocalCutoffs`](super::LocalCutoffs). The package `tower-introspect-redis` has one for Redis.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use tower_introspect::revocation::{Cutoff, CutoffChange, CutoffFeed, Flushing, Revocations};
///
/// /// Two instances in one process.
/// #[derive(Debug)]
/// struct Neighbour(Revocations);
///
/// impl CutoffFeed for Neighbour {
///     fn publish(&self, change: CutoffChange) {
///         self.0.local().apply(&change);
///     }
///
///     fn flush(&self) -> Flushing {
///         Box::pin(async { Ok(()) })
///     }
/// }
///
/// let (one, other) = (Revocations::new(), Revocations::new());
/// one.connect(Arc::new(Neighbour(other.clone())))?;
/// one.revoke(&Cutoff::subject("https://as.example.com", "alice"));
/// assert_eq!(other.len(), 1);
/// # Ok::<(), tower_introspect::ConfigError>(())
/// ```
pub trait CutoffFeed: fmt::Debug + Send + Sync + 'static {
    /// Takes a change to tell it to the others, and returns at once. It holds in this instance already.
    ///
    /// A revocation has the time until which issued tokens are revoked, unless the clock of this
    /// instance can't be right.
    fn publish(&self, change: CutoffChange);

    /// Waits until every other instance can learn of all changes that were published before this call.
    ///
    /// # Errors
    ///
    /// The future returns an error if that takes too long. The changes are told later.
    fn flush(&self) -> Flushing;

    /// Returns true if JWTs that are verified locally, and tokens of custom verifiers, must be refused while
    /// the feed [is behind](super::LocalCutoffs::set_state): nothing else would revoke them. False by default.
    fn is_required(&self) -> bool {
        false
    }
}

/// The future of [`CutoffFeed::flush`].
pub type Flushing = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// The state of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FeedState {
    /// This instance knows the cutoffs of all others.
    Current,
    /// This instance may have missed a cutoff of another one, or can't tell its own.
    Behind,
}

impl FeedState {
    /// Returns the name of this state: `current` or `behind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind => "behind",
        }
    }
}
