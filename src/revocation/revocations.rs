//! The cutoffs in force, shared by all that check tokens against them.

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    change::CutoffChange,
    cutoff::{Cutoff, Standing},
    state::RevocationState,
};
use crate::{
    changes::Changes,
    clock::{Clock, SystemClock},
    verify::active::ActiveToken,
};

/// The default maximum number of cutoffs. Each takes some 150 bytes, and its name 256 at most.
const DEFAULT_CAPACITY: usize = 100_000;

/// The revocations that this process knows.
///
/// They are cutoffs, not a list of bad tokens. A fact that the authorization server established
/// does not count if its verification *started* before the cutoff became known here; the token is
/// then verified again at the server, which knows about the revocation. A JWT verified locally is
/// revoked unless its `iat` is *after* the cutoff; a JWT without `iat` is revoked too. Both rules
/// apply to cached facts, to new facts, and to outcomes of verifications that are under way.
///
/// The number of cutoffs is bounded, and each issuer is bounded for itself. More than 16 cutoffs for
/// sessions and tokens of one subject ([`Cutoff::of_subject`]) become one for the subject. If there
/// are too many cutoffs, the issuer with the most of them gives up the older half of its own for one
/// cutoff that covers all its tokens. So an issuer keeps an equal share whatever the others do. If
/// there are more issuers than cutoffs may be, those without a place share one cutoff. All of this
/// may refuse JWTs that were not revoked, but never admits a revoked one. Cutoffs that only have tokens
/// verified again ([`outdate`](Self::outdate)) are given up first, and never refuse a JWT. Of each
/// name at most 256 bytes are kept, to [list](Self::in_force) it.
///
/// By default cutoffs do not end. With [`max_token_lifetime`](Self::max_token_lifetime) a cutoff ends
/// when every token that it covers has expired.
///
/// # Clocks
///
/// A cutoff without a time covers the tokens issued until now. If the clock of the issuer is ahead,
/// "now" is the latest `iat` of the tokens that were admitted. Connect the policy that admits them
/// ([`Policy::revocations`](crate::Policy::revocations)); a [`ResourceServer`](crate::ResourceServer)
/// does so. The `iat` of an issuer only counts for its own cutoffs.
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
pub struct Revocations(pub(super) Arc<RevocationState>);

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
        Self::build(cutoffs, None, Arc::new(SystemClock))
    }

    /// Sets the clock. Forgets all cutoffs.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self::build(self.0.capacity, self.0.max_token_lifetime, Arc::new(clock))
    }

    /// Sets the longest lifetime of a token, from `iat` to `exp`. Forgets all cutoffs.
    ///
    /// A cutoff then ends when every token that it covers has expired: after this time, and ten
    /// minutes for clocks that differ and expired tokens that a policy tolerates.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::{Policy, revocation::Revocations};
    ///
    /// let revocations = Revocations::new().max_token_lifetime(Duration::from_secs(3600));
    /// let policy = Policy::new("https://api.example.com").revocations(revocations.clone());
    /// # let _ = policy;
    /// ```
    ///
    /// # Security
    ///
    /// A token that lives longer would be admitted again when its cutoff has ended. Connect every
    /// policy that decides about these tokens ([`Policy::revocations`](crate::Policy::revocations)):
    /// it then refuses tokens that live longer, and those without `iat` or `exp`. A
    /// [`ResourceServer`](crate::ResourceServer) does so.
    #[must_use]
    pub fn max_token_lifetime(self, longest: Duration) -> Self {
        Self::build(self.0.capacity, Some(longest), Arc::clone(&self.0.clock))
    }

    fn build(capacity: usize, longest: Option<Duration>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(RevocationState::new(capacity, longest, clock)))
    }

    /// Adds a cutoff, which applies to every request from now on.
    ///
    /// A later cutoff for the same subject, session, client, issuer or token moves the earlier one
    /// forward, never back.
    ///
    /// If a feed is [connected](Self::connect), it is told to the other instances.
    /// [`flush`](Self::flush) waits for that.
    pub fn revoke(&self, cutoff: &Cutoff) {
        let at = self.0.revoke(cutoff);
        self.0.publish(|| CutoffChange::Revoke(cutoff.clone().with_time(at)));
    }

    /// Marks facts about the tokens that a cutoff names as outdated, so that the tokens are verified again.
    /// Revokes none.
    ///
    /// Use it if something about the tokens may have changed, such as their claims, the login or the
    /// state of a device. A fact that the authorization server or a custom verifier established does
    /// not count if its verification started before now, so every request and every open stream
    /// verifies such a token again. A JWT verified locally still stands, whenever it was issued: its
    /// signature would show no change.
    ///
    /// The time of the cutoff ([`Cutoff::at`]) is ignored. An earlier revocation of the same name
    /// stays one. Like a revocation this takes a place among the cutoffs, and ends as they do.
    ///
    /// ```
    /// use tower_introspect::revocation::{Cutoff, Revocations};
    ///
    /// let revocations = Revocations::new();
    /// revocations.outdate(&Cutoff::subject("https://as.example.com", "alice"));
    /// assert_eq!(revocations.in_force(10)[0].revoked_at(), None);
    /// ```
    pub fn outdate(&self, cutoff: &Cutoff) {
        self.0.outdate(cutoff);
        self.0.publish(|| CutoffChange::Outdate(cutoff.clone()));
    }

    /// Revokes or outdates what a change names.
    #[cfg(feature = "signals")]
    pub(crate) fn change(&self, change: &CutoffChange) {
        match change {
            CutoffChange::Revoke(cutoff) => self.revoke(cutoff),
            CutoffChange::Outdate(cutoff) => self.outdate(cutoff),
        }
    }

    /// Returns the cutoffs that were added, to wait for the next one.
    pub(crate) fn changes(&self) -> &Changes {
        &self.0.changes
    }

    /// Returns true if there is no cutoff that has not ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.0.has_cutoffs() || self.len() == 0
    }

    /// Returns the number of cutoffs that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the longest lifetime of a token, if it is limited.
    pub(crate) fn longest_lifetime(&self) -> Option<Duration> {
        self.0.max_token_lifetime
    }

    /// Notes the `iat` of a token that a policy admitted.
    #[inline]
    pub(crate) fn note_admitted(&self, active: &ActiveToken) {
        self.0.note_admitted(active);
    }

    /// Returns true if a token is verified locally, and cutoffs for it may have been missed.
    #[inline]
    pub(crate) fn is_unsure_of(&self, active: &ActiveToken) -> bool {
        self.0.is_unsure_of(active)
    }

    /// Checks `active` against the cutoffs.
    #[inline]
    pub(crate) fn check(&self, active: &ActiveToken) -> Standing {
        if self.0.has_cutoffs() { self.0.check(active) } else { Standing::Stands }
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cutoffs = self.0.cutoffs.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Revocations").field("len", &cutoffs.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod bounds_tests;
#[cfg(test)]
#[path = "outdate_tests.rs"]
mod outdate_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
