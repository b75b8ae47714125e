use std::{sync::Arc, time::Duration};

use super::{decide::Limits, store::SharedTables};
use crate::{
    clock::{Clock, SystemClock},
    revocation::revocations::Revocations,
};

/// The default maximum age of facts that the authorization server established. It bounds the time
/// within which a revocation at the server is noticed.
pub(crate) const DEFAULT_MAX_AGE: Duration = Duration::from_secs(30);

/// The default maximum age of facts that a signature established. The signature would verify again;
/// the age bounds how long a withdrawn key is trusted for cached tokens.
pub(crate) const DEFAULT_JWT_MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// The default maximum age of cached refusals.
const DEFAULT_NEGATIVE_MAX_AGE: Duration = Duration::from_secs(5);

/// The default bounds of the cache, in tokens and in bytes.
const DEFAULT_MAX_ENTRIES: usize = 10_000;
const DEFAULT_MAX_BYTES: u64 = 32 << 20;

/// A layer that caches the facts that a verifier establishes.
///
/// Only facts are cached. The [`Policy`](crate::Policy) runs on every request, so a decision is
/// never reused. Each verifier made by the layer has its own cache, and entries are keyed by the
/// SHA-256 digest of the token: an outcome can't come from another verifier or belong to another
/// token.
///
/// * Facts are used for `max_age` (30 s). Their age counts from the *start* of the verification, by
///   the wall clock or the monotonic clock, whichever shows the greater age. Facts established by a
///   signature alone are used for 5 min. No facts are used past the token's `exp`.
/// * Facts in use that are older than 80 % of `max_age` are verified again in the background, so
///   that a token in use never waits. Facts used meanwhile are never older than `max_age`. The same
///   is true of a shorter age that a request needs
///   ([`Freshness::Within`](crate::verify::Freshness::Within)).
/// * Refusals that depend on the token alone are cached for 5 s, in a table of their own. An
///   unavailable server is never cached.
/// * At most 10 000 tokens and 32 MiB are kept. Entries that are used often stay.
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     cache::CacheLayer,
///     credentials::Token,
///     verify::{Verifier, VerifyRequest, verify_fn},
/// };
/// use tower_layer::Layer;
///
/// let verifier = CacheLayer::new().layer(verify_fn(async |_| {
///     Err(VerifyError::new(ErrorKind::Inactive))
/// }));
/// # tokio_test::block_on(async {
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// assert!(verifier.verify(request.clone()).await.is_err());
/// // The refusal is cached now, and returned at once.
/// assert!(verifier.verify(request).now_or_later().is_ok());
/// assert_eq!(verifier.stats().negative_hits, 1);
/// # });
/// ```
///
/// With other settings:
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::cache::CacheLayer;
///
/// let layer = CacheLayer::new()
///     .max_age(Duration::from_secs(10))
///     .capacity(1_000_000, 700 << 20)
///     .stale_if_error(Duration::from_secs(60));
/// # let _ = layer;
/// ```
#[derive(Clone, Debug)]
pub struct CacheLayer {
    pub(super) limits: Limits,
    pub(super) negative_max_age: Duration,
    pub(super) max_entries: usize,
    pub(super) max_bytes: u64,
    /// The tables of all caches that this layer makes, if they share one bound.
    pub(super) shared: Option<SharedTables>,
    pub(super) revocations: Revocations,
    pub(super) clock: Arc<dyn Clock>,
}

impl CacheLayer {
    /// Creates a layer with the settings above.
    #[must_use]
    pub fn new() -> Self {
        Self {
            limits: Limits {
                remote_max_age: DEFAULT_MAX_AGE,
                jwt_max_age: DEFAULT_JWT_MAX_AGE,
                stale_if_error: Duration::ZERO,
                refresh_ahead: true,
            },
            negative_max_age: DEFAULT_NEGATIVE_MAX_AGE,
            max_entries: DEFAULT_MAX_ENTRIES,
            max_bytes: DEFAULT_MAX_BYTES,
            shared: None,
            revocations: Revocations::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the maximum age of facts that the authorization server established.
    ///
    /// A token that is revoked at the server is refused here after this time and one verification,
    /// at the latest. Zero caches none of these facts.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.limits.remote_max_age = age;
        self
    }

    /// Returns the maximum age of facts that the authorization server established, and the additional
    /// time while it is unavailable.
    pub(crate) const fn ages(&self) -> (Duration, Duration) {
        (self.limits.remote_max_age, self.limits.stale_if_error)
    }

    /// Sets the maximum age of facts that a signature alone established. Zero caches none of them.
    #[must_use]
    pub const fn jwt_max_age(mut self, age: Duration) -> Self {
        self.limits.jwt_max_age = age;
        self
    }

    /// Sets the maximum age of refusals.
    ///
    /// A token that becomes valid after it was refused stays refused for up to this time. Zero
    /// caches no refusals.
    #[must_use]
    pub const fn negative_max_age(mut self, age: Duration) -> Self {
        self.negative_max_age = age;
        self
    }

    /// Sets how many tokens are cached, and how much memory they may take, in bytes.
    ///
    /// A tenth as many refusals are kept in addition, in at most a tenth of the memory. Values
    /// parsed by [`claims_as`](crate::VerifiedToken::claims_as) are not counted.
    #[must_use]
    pub const fn capacity(mut self, entries: usize, bytes: u64) -> Self {
        self.max_entries = entries;
        self.max_bytes = bytes;
        self
    }

    /// Makes all caches of this layer and its clones share one bound in entries and bytes.
    #[cfg(feature = "jwt")]
    #[must_use]
    pub(crate) fn sharing_capacity(mut self) -> Self {
        self.shared = Some(SharedTables::new(self.max_entries, self.max_bytes));
        self
    }

    /// Returns the entries and bytes in all caches that share one bound.
    #[cfg(feature = "jwt")]
    pub(crate) fn shared_use(&self) -> Option<(u64, u64)> {
        self.shared.as_ref().map(SharedTables::used)
    }

    /// Returns the maximum number of cached tokens.
    pub(crate) const fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// Also uses facts older than `max_age` by up to `more` while the server is
    /// [`Unavailable`](crate::ErrorKind::Unavailable). Off by default.
    ///
    /// Applies only to requests with [`Freshness::Cached`](crate::verify::Freshness::Cached),
    /// and never past the token's `exp` or a cutoff. [`VerifiedToken::is_stale`](crate::VerifiedToken::is_stale) reports such a use.
    ///
    /// # Security
    ///
    /// During an outage of the authorization server, a revocation is noticed later by this time.
    #[must_use]
    pub const fn stale_if_error(mut self, more: Duration) -> Self {
        self.limits.stale_if_error = more;
        self
    }

    /// Turns off refreshing in the background. A request whose cached facts are too old then waits
    /// until the token is verified again.
    #[must_use]
    pub const fn without_refresh_ahead(mut self) -> Self {
        self.limits.refresh_ahead = false;
        self
    }

    /// Drops entries that these cutoffs apply to.
    ///
    /// This covers cached facts only. A [`RevocationLayer`](crate::revocation::RevocationLayer) outside
    /// of this layer checks verifications that are still under way.
    #[must_use]
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = revocations;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl Default for CacheLayer {
    fn default() -> Self {
        Self::new()
    }
}
