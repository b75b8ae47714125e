use std::{cell::Cell, fmt, time::Duration};

#[cfg(feature = "cache")]
use super::active::{ActiveToken, Method};
use super::{
    keeper::Keeper,
    peer::{PeerKey, SharedCharge},
    waiters::Waiters,
};
use crate::{
    clock::Moment,
    credentials::{token::Token, unchecked_token::UncheckedToken},
    error::refusal::VerifyError,
};
#[cfg(feature = "_crypto")]
use crate::{credentials::token::Fingerprint, jose::crypto};

/// The freshness that a request needs: how recently its token must have been verified.
///
/// The age is counted from the *start* of the verification, at the time the outcome is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// As recently as the settings of the verifier require.
    #[default]
    Cached,
    /// Verified at the authorization server for this very request.
    Live,
    /// Verified at most this long ago.
    Within(Duration),
}

impl Freshness {
    /// Returns the maximum age, which is at most `limit`.
    #[inline]
    pub(crate) fn max_age(self, limit: Duration) -> Duration {
        match self {
            Self::Cached => limit,
            Self::Live => Duration::ZERO,
            Self::Within(age) => age.min(limit),
        }
    }

    /// Returns the freshness that also requires an age of at most `limit`.
    pub(crate) fn capped(self, limit: Duration) -> Self {
        if self == Self::Live { self } else { Self::Within(self.max_age(limit)) }
    }
}

/// A request to a [`Verifier`](super::Verifier).
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    token: Token,
    freshness: Freshness,
    not_before: Option<Moment>,
    arrived_at: Option<Moment>,
    peer: Option<PeerKey>,
    /// Shared by verifiers that are called one after the other.
    shared_charge: Option<SharedCharge>,
    /// The requests that wait for the outcome, if they may be several.
    waiters: Option<Waiters>,
    /// The cache that keeps the outcome.
    keeper: Option<Keeper>,
}

impl VerifyRequest {
    /// Creates a request to verify `token`.
    ///
    /// ```
    /// use tower_introspect::{credentials::Token, verify::{Freshness, VerifyRequest}};
    ///
    /// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
    /// assert_eq!(request.freshness(), Freshness::Cached);
    /// ```
    #[must_use]
    pub const fn new(token: Token) -> Self {
        Self {
            token,
            freshness: Freshness::Cached,
            not_before: None,
            arrived_at: None,
            peer: None,
            shared_charge: None,
            waiters: None,
            keeper: None,
        }
    }

    /// Sets how recently the token must have been verified.
    #[must_use]
    pub const fn with_freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Requires a verification that started no earlier than `moment`, because of a revocation or an
    /// eviction at that time. Of several moments the latest counts.
    ///
    /// Unlike an age, the moment is the same for all waiting requests, so they can share one
    /// verification.
    ///
    /// ```
    /// use tower_introspect::{
    ///     clock::{Moment, SystemClock},
    ///     credentials::Token,
    ///     verify::VerifyRequest,
    /// };
    ///
    /// let now = Moment::now(&SystemClock);
    /// let request = VerifyRequest::new(Token::bearer("abc").unwrap()).with_not_before(now);
    /// assert_eq!(request.not_before(), Some(now));
    /// ```
    #[must_use]
    pub fn with_not_before(mut self, moment: Moment) -> Self {
        self.not_before = Some(self.not_before.map_or(moment, |before| before.latest(moment)));
        self
    }

    /// Also accepts facts that the authorization server established since `moment`, whatever the
    /// freshness.
    ///
    /// An outer layer had the token verified for this very request at that moment.
    pub(crate) const fn arrived_at(mut self, moment: Moment) -> Self {
        self.arrived_at = Some(moment);
        self
    }

    /// Returns the freshness that these facts must have.
    #[cfg(feature = "cache")]
    pub(crate) fn freshness_for(&self, active: &ActiveToken) -> Freshness {
        match self.arrived_at {
            // A signature alone says nothing about the present.
            Some(arrived)
                if active.method() != Method::Jwt && !active.verified_at().is_before(arrived) =>
            {
                Freshness::Cached
            }
            _ => self.freshness,
        }
    }

    /// Sets the sender of the request, so that a [`MissBudget`](crate::upstream::MissBudget) can tell peers
    /// apart.
    #[must_use]
    pub const fn with_peer(mut self, peer: PeerKey) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Declares that several verifiers are called in turn, with at most one charge for all of them.
    pub(crate) fn sharing_charge(mut self) -> Self {
        self.shared_charge = Some(SharedCharge::default());
        self
    }

    /// Sets the requests that wait for the outcome. A verification that none of them waits for any
    /// more need not begin.
    #[cfg(feature = "_crypto")]
    pub(crate) fn with_waiters(mut self, waiters: Waiters) -> Self {
        self.waiters = Some(waiters);
        self
    }

    #[cfg(feature = "_crypto")]
    pub(crate) const fn waiters(&self) -> Option<&Waiters> {
        self.waiters.as_ref()
    }

    /// Sets the cache that keeps the outcome.
    #[cfg(feature = "cache")]
    pub(crate) fn with_keeper(mut self, keeper: Keeper) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// Sets the start of the verification, which had to wait for another one to end.
    #[cfg(feature = "_crypto")]
    pub(crate) const fn restart(&mut self, now: Moment) {
        if let Some(keeper) = &mut self.keeper {
            keeper.started = now;
        }
    }

    #[cfg(feature = "_crypto")]
    pub(crate) const fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Returns the token.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// Returns how recently the token must have been verified.
    #[must_use]
    pub const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Returns the earliest acceptable start of the verification, if there is one.
    #[must_use]
    pub const fn not_before(&self) -> Option<Moment> {
        self.not_before
    }

    /// Returns the sender of the request, if it is known.
    #[must_use]
    pub const fn peer(&self) -> Option<PeerKey> {
        self.peer
    }

    pub(crate) const fn shared_charge(&self) -> Option<&SharedCharge> {
        self.shared_charge.as_ref()
    }

    /// Returns true if [`not_before`](Self::not_before) accepts a verification that started at
    /// `start`.
    pub(crate) fn accepts_start(&self, start: Moment) -> bool {
        self.not_before.is_none_or(|earliest| !start.is_before(earliest))
    }

    /// Returns the SHA-256 digest of the token.
    #[cfg(feature = "_crypto")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.token)
    }
}

/// A cache lookup for a token, before an owned [`VerifyRequest`] is made.
///
/// The credentials are as found in the request, and may not be a well-formed token. Only
/// well-formed tokens are ever cached, so no others match an entry.
#[doc(hidden)]
pub struct CacheLookup<'a> {
    found: UncheckedToken<'a>,
    freshness: Freshness,
    /// True if a refusal by one verifier does not decide.
    ignores_refusals: Cell<bool>,
    /// Computed on first use, and passed on to the token.
    #[cfg(feature = "_crypto")]
    fingerprint: Cell<Option<Fingerprint>>,
}

impl<'a> CacheLookup<'a> {
    #[inline]
    pub(crate) const fn new(found: UncheckedToken<'a>, freshness: Freshness) -> Self {
        Self {
            found,
            freshness,
            ignores_refusals: Cell::new(false),
            #[cfg(feature = "_crypto")]
            fingerprint: Cell::new(None),
        }
    }

    #[inline]
    pub(crate) const fn found(&self) -> &UncheckedToken<'a> {
        &self.found
    }

    pub(crate) const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Ignores cached refusals, because another verifier may accept the token.
    pub(crate) fn ignore_refusals(&self) {
        self.ignores_refusals.set(true);
    }

    #[cfg(feature = "cache")]
    pub(crate) const fn accepts_refusals(&self) -> bool {
        !self.ignores_refusals.get()
    }

    #[cfg(feature = "_crypto")]
    #[inline]
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.get().unwrap_or_else(|| {
            let fingerprint =
                Fingerprint::from_digest(crypto::backend::sha256(self.found.secret_bytes()));
            self.fingerprint.set(Some(fingerprint));
            fingerprint
        })
    }

    /// Returns the token, if the credentials are well-formed.
    ///
    /// # Errors
    ///
    /// [`MalformedCredentials`](crate::ErrorKind::MalformedCredentials).
    pub(crate) fn into_token(self) -> Result<Token, VerifyError> {
        let token = self.found.into_token()?;
        #[cfg(feature = "_crypto")]
        if let Some(fingerprint) = self.fingerprint.into_inner() {
            return Ok(token.with_fingerprint(fingerprint));
        }
        Ok(token)
    }
}

impl fmt::Debug for CacheLookup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLookup").field("freshness", &self.freshness).finish_non_exhaustive()
    }
}

/// Returns the SHA-256 digest of a token.
#[cfg(feature = "_crypto")]
pub(crate) fn fingerprint(token: &Token) -> Fingerprint {
    *token.fingerprint(crypto::backend::sha256)
}
