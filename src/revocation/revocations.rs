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
    cutoff::{About, Cutoff, Kind, Standing},
    table::{CLOCK_DIFFERENCE, Cutoffs, Line, worse},
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
    pub(super) clock: Arc<dyn Clock>,
    capacity: usize,
    /// Randomly keyed, so that a client can't choose names with the same hash. Names with the same
    /// hash revoke each other, which is safe.
    names: RandomState,
    any: AtomicBool,
    /// The latest `iat` seen, in milliseconds. A cutoff covers all tokens admitted before it, even
    /// if the clocks of this machine and of the issuer differ.
    latest_issue: AtomicI64,
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
            names: RandomState::new(),
            any: AtomicBool::new(false),
            latest_issue: AtomicI64::new(i64::MIN),
            cutoffs: RwLock::default(),
        }))
    }

    /// Adds a cutoff, which applies to every request from now on.
    ///
    /// A later cutoff for the same subject, session, client, issuer or token moves the earlier one
    /// forward, never back.
    pub fn revoke(&self, cutoff: &Cutoff) {
        let inner = &*self.0;
        let known = Moment::now(&*inner.clock);
        let now = || known.wall().max(inner.latest_issue());
        let line = Line { at: cutoff.at.unwrap_or_else(now), known };
        let issuer = inner.names.hash_one(&cutoff.issuer);
        let mut cutoffs = inner.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
        match &cutoff.about {
            About::Issuer => cutoffs.add_issuer(issuer, line, inner.capacity),
            About::One(kind, value) => {
                let name = inner.names.hash_one((kind, &**value));
                cutoffs.add(issuer, name, line, inner.capacity);
            }
        }
        inner.any.store(true, Ordering::Release);
    }

    /// Returns true if there is no cutoff.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.0.any.load(Ordering::Acquire)
    }

    /// Returns the number of cutoffs.
    #[must_use]
    pub fn len(&self) -> usize {
        let cutoffs = self.0.cutoffs.read().unwrap_or_else(PoisonError::into_inner);
        let issuers = cutoffs.issuers.values();
        let own = issuers.map(|of| of.some.len() + usize::from(of.all.is_some())).sum::<usize>();
        own + usize::from(cutoffs.everyone.is_some())
    }

    /// Checks `active` against the cutoffs.
    #[inline]
    pub(crate) fn check(&self, active: &ActiveToken) -> Standing {
        self.0.note_issue(active);
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
    fn latest_issue(&self) -> UnixTime {
        UnixTime::from_millis(self.latest_issue.load(Ordering::Relaxed))
    }

    fn note_issue(&self, active: &ActiveToken) {
        let Some(issued) = active.claims().issued_at() else { return };
        // No policy admits a token issued further ahead, and it must not move the cutoffs of other
        // tokens.
        if issued > self.latest_issue()
            && issued <= self.clock.now().saturating_add(CLOCK_DIFFERENCE)
        {
            self.latest_issue.fetch_max(issued.as_millis(), Ordering::Relaxed);
        }
    }

    fn check(&self, active: &ActiveToken) -> Standing {
        let claims = active.claims();
        let cutoffs = self.cutoffs.read().unwrap_or_else(PoisonError::into_inner);
        let mut standing = cutoffs.everyone.map_or(Standing::Stands, |line| line.check(active));
        let Some(of) = cutoffs.issuers.get(&self.names.hash_one(active.issuer())) else {
            return standing;
        };
        if let Some(line) = of.all {
            standing = worse(standing, line.check(active));
        }
        if of.some.is_empty() {
            return standing;
        }
        let named = [
            (Kind::Subject, claims.subject().map(Into::into)),
            (Kind::Session, claims.string("sid")),
            (Kind::Client, claims.client_id()),
            (Kind::Client, claims.string("azp")),
            (Kind::Token, claims.jwt_id()),
        ];
        for (kind, value) in named {
            let Some(value) = value else { continue };
            let Some(line) = of.some.get(&self.names.hash_one((kind, &*value))) else { continue };
            let says = match kind {
                Kind::Token => line.check_token(active),
                _ => line.check(active),
            };
            standing = worse(standing, says);
        }
        standing
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
