//! The cutoffs in force, shared by all that check tokens against them.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher as _,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use super::{
    cutoff::{ClaimKind, Cutoff, Standing, Target},
    table::{CutoffTimes, Cutoffs, MAX_CLOCK_AHEAD, worse},
};
use crate::{
    clock::{Clock, Moment, SystemClock, UnixTime},
    verify::active::ActiveToken,
};

/// The default maximum number of cutoffs. Each takes some 64 bytes.
const DEFAULT_CAPACITY: usize = 100_000;

/// The revocations that this process knows.
///
/// They are cutoffs, not a list of bad tokens. A fact that the authorization server established
/// does not count if its verification *started* before the cutoff became known here; the token is
/// then verified again at the server, which knows about the revocation. A JWT verified locally is
/// revoked unless its `iat` is *after* the cutoff; a JWT without `iat` is revoked too. Both rules
/// apply to cached facts, to new facts, and to outcomes of verifications that are under way.
///
/// The number of cutoffs is bounded. Beyond the bound, one cutoff for all tokens of each issuer
/// replaces the older half of all cutoffs; with too many issuers, one for the tokens of all issuers
/// replaces every cutoff. This may refuse JWTs that were not revoked, if they live longer than it
/// takes for so many cutoffs to arrive, but it never admits a revoked one.
///
/// A [`RevocationLayer`](super::RevocationLayer) checks outcomes against them. Clones share the
/// cutoffs. While there are none, a check takes no lock.
///
/// ```
/// use tower_introspect::revocation::{Cutoff, Revocations};
///
/// let revocations = Revocations::new();
/// revocations.revoke(&Cutoff::subject("https://as.example.com", "alice"));
/// assert_eq!(revocations.len(), 1);
/// // The same subject again: the cutoff moves forward.
/// revocations.revoke(&Cutoff::subject("https://as.example.com", "alice"));
/// assert_eq!(revocations.len(), 1);
/// ```
#[derive(Clone)]
pub struct Revocations(Arc<RevocationState>);

struct RevocationState {
    clock: Arc<dyn Clock>,
    capacity: usize,
    /// Randomly keyed, so that a client can't choose names with the same hash. Names with the same
    /// hash revoke each other, which is safe.
    hasher: RandomState,
    has_cutoffs: AtomicBool,
    /// The latest `iat` seen, in milliseconds. A cutoff without a time is set to this if it is later
    /// than our clock. Otherwise it would miss tokens of an issuer whose clock is ahead.
    latest_iat: AtomicI64,
    cutoffs: RwLock<Cutoffs>,
}

impl Revocations {
    /// Creates an empty set of revocations that keeps at most 100 000 cutoffs.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }

    /// Creates an empty set of revocations that keeps at most `cutoffs` cutoffs.
    ///
    /// ```
    /// use tower_introspect::revocation::Revocations;
    ///
    /// assert!(Revocations::with_capacity(1_000).is_empty());
    /// ```
    #[must_use]
    pub fn with_capacity(cutoffs: usize) -> Self {
        Self::build(cutoffs, Arc::new(SystemClock))
    }

    /// Sets the clock. Forgets all cutoffs.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self::build(self.0.capacity, Arc::new(clock))
    }

    fn build(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(RevocationState {
            clock,
            capacity,
            hasher: RandomState::new(),
            has_cutoffs: AtomicBool::new(false),
            latest_iat: AtomicI64::new(i64::MIN),
            cutoffs: RwLock::default(),
        }))
    }

    /// Adds a cutoff, which applies to every request from now on.
    ///
    /// A later cutoff for the same subject, session, client, issuer or token moves the earlier one
    /// forward, never back.
    pub fn revoke(&self, cutoff: &Cutoff) {
        let state = &*self.0;
        let learned_at = Moment::now(&*state.clock);
        let now = || learned_at.wall().max(state.latest_iat());
        let times = CutoffTimes { revoked_at: cutoff.at.unwrap_or_else(now), learned_at };
        let issuer = state.hasher.hash_one(&cutoff.issuer);
        let mut cutoffs = state.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
        match &cutoff.target {
            Target::Issuer => cutoffs.add_issuer(issuer, times, state.capacity),
            Target::Claim(kind, value) => {
                let name = state.hasher.hash_one((kind, &**value));
                cutoffs.add(issuer, name, times, state.capacity);
            }
        }
        state.has_cutoffs.store(true, Ordering::Release);
    }

    /// Returns true if there is no cutoff.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.0.has_cutoffs.load(Ordering::Acquire)
    }

    /// Returns the number of cutoffs.
    #[must_use]
    pub fn len(&self) -> usize {
        let cutoffs = self.0.cutoffs.read().unwrap_or_else(PoisonError::into_inner);
        let issuers = cutoffs.issuers.values();
        let own = issuers
            .map(|of| of.by_claim.len() + usize::from(of.whole_issuer.is_some()))
            .sum::<usize>();
        own + usize::from(cutoffs.all_issuers.is_some())
    }

    /// Checks `active` against the cutoffs.
    #[inline]
    pub(crate) fn check(&self, active: &ActiveToken) -> Standing {
        self.0.note_iat(active);
        if self.is_empty() { Standing::Stands } else { self.0.check(active) }
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl RevocationState {
    fn latest_iat(&self) -> UnixTime {
        UnixTime::from_millis(self.latest_iat.load(Ordering::Relaxed))
    }

    fn note_iat(&self, active: &ActiveToken) {
        let Some(issued) = active.claims().issued_at() else { return };
        // No policy admits a token issued further ahead, and it must not move the cutoffs of other
        // tokens.
        if issued > self.latest_iat() && issued <= self.clock.now().saturating_add(MAX_CLOCK_AHEAD)
        {
            self.latest_iat.fetch_max(issued.as_millis(), Ordering::Relaxed);
        }
    }

    fn check(&self, active: &ActiveToken) -> Standing {
        let claims = active.claims();
        let cutoffs = self.cutoffs.read().unwrap_or_else(PoisonError::into_inner);
        let mut standing =
            cutoffs.all_issuers.map_or(Standing::Stands, |times| times.check(active));
        let Some(issuer) = cutoffs.issuers.get(&self.hasher.hash_one(active.issuer())) else {
            return standing;
        };
        if let Some(times) = issuer.whole_issuer {
            standing = worse(standing, times.check(active));
        }
        if issuer.by_claim.is_empty() {
            return standing;
        }
        let named = [
            (ClaimKind::Subject, claims.subject().map(Into::into)),
            (ClaimKind::Session, claims.string("sid")),
            (ClaimKind::Client, claims.client_id()),
            (ClaimKind::Client, claims.string("azp")),
            (ClaimKind::Token, claims.jwt_id()),
        ];
        for (kind, value) in named {
            let Some(value) = value else { continue };
            let name = self.hasher.hash_one((kind, &*value));
            standing = match (issuer.by_claim.get(&name), kind) {
                (Some(times), ClaimKind::Token) => worse(standing, times.check_token(active)),
                (Some(times), _) => worse(standing, times.check(active)),
                (None, _) => standing,
            };
        }
        standing
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
