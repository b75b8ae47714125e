use std::{cell::Cell, fmt, time::Duration};

#[cfg(all(feature = "cache", feature = "_crypto"))]
use crate::clock::Clock;
use crate::upstream::budget::{PeerKey, Turn};
use crate::{
    clock::{Moment, Reading},
    credentials::{Token, found::Found},
    error::refusal::VerifyError,
};
#[cfg(feature = "_crypto")]
use crate::{credentials::Fingerprint, jose::crypto};

/// How recently the token must have been verified.
///
/// Held against the *start* of the verification that an answer comes from, when the answer is
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// As recently as the verifier's own settings ask for.
    #[default]
    Cached,
    /// The authorization server is asked about this very request.
    Live,
    /// At most this long ago.
    Within(Duration),
}

/// What a [`Verifier`](super::Verifier) is asked.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    token: Token,
    freshness: Freshness,
    not_before: Option<Moment>,
    peer: Option<PeerKey>,
    /// Shared by the questions of those who are asked in turn.
    turn: Option<Turn>,
}

impl VerifyRequest {
    /// Asks about `token`.
    ///
    /// ```
    /// use tower_introspect::{credentials::Token, verify::{Freshness, VerifyRequest}};
    ///
    /// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
    /// assert_eq!(request.freshness(), Freshness::Cached);
    /// ```
    #[must_use]
    pub const fn new(token: Token) -> Self {
        Self { token, freshness: Freshness::Cached, not_before: None, peer: None, turn: None }
    }

    /// Sets how recent the answer must be.
    #[must_use]
    pub const fn with_freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Wants an answer from a verification that started no earlier than `moment`: something was
    /// revoked or forgotten then. Of several such moments the latest counts.
    ///
    /// Other than an age, it is the same for all who wait, so they can share one verification.
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

    /// Says who sends the request, so that a [`MissBudget`](super::MissBudget) can tell peers apart.
    #[must_use]
    pub const fn with_peer(mut self, peer: PeerKey) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Says that several are asked about the token in turn: one charge is enough for all of them.
    pub(crate) fn in_turn(mut self) -> Self {
        self.turn = Some(Turn::default());
        self
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// How recent the answer must be.
    #[must_use]
    pub const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// The earliest start of a verification whose answer will do, if that matters.
    #[must_use]
    pub const fn not_before(&self) -> Option<Moment> {
        self.not_before
    }

    /// Who sends the request, if that is known.
    #[must_use]
    pub const fn peer(&self) -> Option<PeerKey> {
        self.peer
    }

    pub(crate) const fn turn(&self) -> Option<&Turn> {
        self.turn.as_ref()
    }

    /// Whether an answer from a verification that started at `start` will do, as far as
    /// [`not_before`](Self::not_before) goes.
    pub(crate) fn takes_from(&self, start: Moment) -> bool {
        self.not_before.is_none_or(|earliest| !start.is_before(earliest))
    }

    /// The SHA-256 digest of the token.
    #[cfg(feature = "_crypto")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.token)
    }
}

/// What is asked of memory about a token, before the request is held on to.
///
/// The token is what stands in its place: whether it is spelled as one is not known yet. Nothing but
/// a token is ever remembered.
#[doc(hidden)]
pub struct RecallRequest<'a> {
    found: Found<'a>,
    freshness: Freshness,
    /// Whether a refusal would not be the last word.
    facts_only: Cell<bool>,
    /// When memory was asked last. It is *now* for who asked.
    at: Cell<Option<Reading>>,
    /// Taken when it is first asked for, and handed on.
    #[cfg(feature = "_crypto")]
    fingerprint: Cell<Option<Fingerprint>>,
}

impl<'a> RecallRequest<'a> {
    #[inline]
    pub(crate) const fn new(found: Found<'a>, freshness: Freshness) -> Self {
        Self {
            found,
            freshness,
            facts_only: Cell::new(false),
            at: Cell::new(None),
            #[cfg(feature = "_crypto")]
            fingerprint: Cell::new(None),
        }
    }

    #[inline]
    pub(crate) const fn found(&self) -> &Found<'a> {
        &self.found
    }

    pub(crate) const fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Says that others may know the token where this memory knows that it is bad.
    pub(crate) fn take_facts_only(&self) {
        self.facts_only.set(true);
    }

    #[cfg(all(feature = "cache", feature = "_crypto"))]
    pub(crate) const fn takes_refusals(&self) -> bool {
        !self.facts_only.get()
    }

    #[cfg(feature = "_crypto")]
    #[inline]
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.get().unwrap_or_else(|| {
            let fingerprint = Fingerprint::from_digest(crypto::sha256(self.found.secret_bytes()));
            self.fingerprint.set(Some(fingerprint));
            fingerprint
        })
    }

    /// Reads the clocks, for who asked and whatever comes right after.
    #[cfg(all(feature = "cache", feature = "_crypto"))]
    #[inline]
    pub(crate) fn read(&self, clock: &dyn Clock) -> Moment {
        let reading = Reading::take(clock);
        self.at.set(Some(reading));
        reading.moment()
    }

    /// When memory was asked.
    #[inline]
    pub(crate) const fn asked_at(&self) -> Option<Reading> {
        self.at.get()
    }

    /// The token, if it is one.
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

impl fmt::Debug for RecallRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecallRequest").field("freshness", &self.freshness).finish_non_exhaustive()
    }
}

/// The SHA-256 digest of a token.
#[cfg(feature = "_crypto")]
pub(crate) fn fingerprint(token: &Token) -> Fingerprint {
    *token.fingerprint(crypto::sha256)
}
