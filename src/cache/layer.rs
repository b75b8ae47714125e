use std::{sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{Cache, decide::Limits};
use crate::{
    clock::{Clock, SystemClock},
    revocation::Revocations,
};
#[cfg(doc)]
use crate::{error::kind::ErrorKind, verify::request::Freshness};

/// How old facts may be that the authorization server established, unless configured: the bound
/// within which a revocation there is noticed.
pub(crate) const DEFAULT_MAX_AGE: Duration = Duration::from_secs(30);

/// How old facts may be that a signature established, unless configured. It would verify the same
/// again; this bounds how long a withdrawn key is trusted for tokens that are remembered.
pub(crate) const DEFAULT_JWT_MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// How long refusals are remembered, unless configured.
const DEFAULT_NEGATIVE_MAX_AGE: Duration = Duration::from_secs(5);

/// The most tokens, and the most memory, unless configured.
const DEFAULT_ENTRIES: usize = 10_000;
const DEFAULT_BYTES: u64 = 32 << 20;

/// Remembers what a verifier established.
///
/// What is remembered are facts; the [`Policy`](crate::Policy) is run on every request, so that no
/// decision is ever used twice. Each verifier made by the layer has memory of its own, and a token is
/// found by its SHA-256 digest: an answer can't come from another verifier or about another token.
///
/// * Facts serve for `max_age`, 30 s, counted from the *start* of the verification, by whichever clock
///   saw more time pass; those of a signature alone for 5 min; none past the token's `exp`.
/// * Facts that are used when they are past 80 % of that are verified anew in the background, so that
///   a token in use never waits. What is used meanwhile is never older than `max_age`.
/// * Refusals that depend on the token alone are remembered for 5 s, in a place of their own. That
///   no answer could be had never is.
/// * At most 10 000 tokens and 32 MiB are kept; what is used often stays.
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     verify::{CacheLayer, Verifier, VerifyRequest, verify_fn},
/// };
/// use tower_layer::Layer;
///
/// let verifier = CacheLayer::new().layer(verify_fn(async |_| {
///     Err(VerifyError::new(ErrorKind::Inactive))
/// }));
/// # tokio_test::block_on(async {
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// assert!(verifier.verify(request.clone()).await.is_err());
/// // Now it is known, and the answer is there at once.
/// assert!(verifier.verify(request).now_or_later().is_ok());
/// assert_eq!(verifier.stats().negative_hits, 1);
/// # });
/// ```
///
/// With settings:
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::verify::CacheLayer;
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
    pub(super) entries: usize,
    pub(super) bytes: u64,
    pub(super) revocations: Revocations,
    pub(super) clock: Arc<dyn Clock>,
}

impl CacheLayer {
    /// Remembers with the settings above.
    #[must_use]
    pub fn new() -> Self {
        Self {
            limits: Limits {
                max_age: DEFAULT_MAX_AGE,
                jwt_max_age: DEFAULT_JWT_MAX_AGE,
                stale_if_error: Duration::ZERO,
                refresh_ahead: true,
            },
            negative_max_age: DEFAULT_NEGATIVE_MAX_AGE,
            entries: DEFAULT_ENTRIES,
            bytes: DEFAULT_BYTES,
            revocations: Revocations::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets how old facts may be that the authorization server established.
    ///
    /// A token that is revoked there is refused here after this time and one verification, at the
    /// latest. Zero remembers none of them.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.limits.max_age = age;
        self
    }

    /// Sets how old facts may be that a signature alone established.
    #[must_use]
    pub const fn jwt_max_age(mut self, age: Duration) -> Self {
        self.limits.jwt_max_age = age;
        self
    }

    /// Sets how long refusals are remembered.
    ///
    /// A token that becomes valid after it was refused is refused for this long. Zero remembers none.
    #[must_use]
    pub const fn negative_max_age(mut self, age: Duration) -> Self {
        self.negative_max_age = age;
        self
    }

    /// Sets how many tokens are remembered, and how much memory they may take. Of refusals there
    /// are a tenth as many besides, in a tenth of the memory at most. What claims were parsed to, by
    /// [`claims_as`](crate::VerifiedToken::claims_as), is not counted.
    #[must_use]
    pub const fn capacity(mut self, entries: usize, bytes: u64) -> Self {
        self.entries = entries;
        self.bytes = bytes;
        self
    }

    /// How many tokens are remembered at most.
    pub(crate) const fn entries(&self) -> usize {
        self.entries
    }

    /// Also uses facts that are older than `max_age` by up to this much, while the answer is
    /// [`Unavailable`](ErrorKind::Unavailable). Off by default.
    ///
    /// Only for requests that take what is there ([`Freshness::Cached`]), never past the token's
    /// `exp` or a cutoff, and visible: [`VerifiedToken::is_stale`](crate::VerifiedToken::is_stale).
    ///
    /// # Security
    ///
    /// A revocation is noticed this much later in an outage of the authorization server.
    #[must_use]
    pub const fn stale_if_error(mut self, more: Duration) -> Self {
        self.limits.stale_if_error = more;
        self
    }

    /// Leaves tokens in use to the request that finds them too old, instead of verifying them ahead of
    /// time.
    #[must_use]
    pub const fn without_refresh_ahead(mut self) -> Self {
        self.limits.refresh_ahead = false;
        self
    }

    /// Drops what these cutoffs touch.
    ///
    /// That is about memory alone. Answers on their way are held against cutoffs by a
    /// [`RevocationLayer`](crate::verify::RevocationLayer), outside of this one.
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

impl<V> Layer<V> for CacheLayer {
    type Service = Cache<V>;

    fn layer(&self, inner: V) -> Cache<V> {
        Cache::new(inner, self.clone())
    }
}
