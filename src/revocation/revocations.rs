//! The cutoffs in force, shared by all that check tokens against them.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher as _,
    num::NonZeroU64,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    cutoff::{ClaimKind, Cutoff, Standing, Target},
    latest_iat::LatestIat,
    table::{ClaimName, CutoffTimes, Cutoffs, MAX_CLOCK_AHEAD, UNDATED, worse},
};
use crate::{
    changes::Changes,
    claims::{claims_set::CLIENT_CLAIMS, json},
    clock::{Clock, Moment, SystemClock},
    telemetry::events::cutoff_time_cut,
    verify::active::ActiveToken,
};

/// The default maximum number of cutoffs. Each takes some 100 bytes.
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
/// may refuse JWTs that were not revoked, but never admits a revoked one.
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
pub struct Revocations(Arc<RevocationState>);

struct RevocationState {
    clock: Arc<dyn Clock>,
    capacity: usize,
    max_token_lifetime: Option<Duration>,
    /// Randomly keyed, so that a client can't choose names with the same hash. Names with the same
    /// hash revoke each other, which is safe.
    hasher: RandomState,
    has_cutoffs: AtomicBool,
    /// True if a cutoff came while the clock could not be right.
    has_undated: AtomicBool,
    latest_iat: LatestIat,
    cutoffs: RwLock<Cutoffs>,
    /// New cutoffs. Streams that are open wait for them.
    changes: Changes,
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
        Self(Arc::new(RevocationState {
            clock,
            capacity,
            max_token_lifetime: longest,
            hasher: RandomState::new(),
            has_cutoffs: AtomicBool::new(false),
            has_undated: AtomicBool::new(false),
            latest_iat: LatestIat::new(),
            cutoffs: RwLock::default(),
            changes: Changes::new(),
        }))
    }

    /// Adds a cutoff, which applies to every request from now on.
    ///
    /// A later cutoff for the same subject, session, client, issuer or token moves the earlier one
    /// forward, never back.
    pub fn revoke(&self, cutoff: &Cutoff) {
        let state = &*self.0;
        let issuer = state.hasher.hash_one(&cutoff.issuer);
        let times = state.times(cutoff, issuer);
        let mut cutoffs = state.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
        if cutoffs.may_have_ended(times.learned_at) {
            state.remove_ended(&mut cutoffs, times.learned_at);
        }
        match &cutoff.target {
            Target::Issuer => cutoffs.add_issuer(issuer, times, state.capacity),
            Target::Claim(kind, value) => {
                let name = state.claim_name(*kind, value, cutoff.subject.as_deref());
                cutoffs.add(issuer, name, times, state.capacity);
            }
        }
        if times.revoked_at == UNDATED {
            state.has_undated.store(true, Ordering::Release);
        }
        state.has_cutoffs.store(true, Ordering::Release);
        drop(cutoffs);
        state.changes.happened();
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
        let state = &*self.0;
        let mut cutoffs = state.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
        state.remove_ended(&mut cutoffs, Moment::now(&*state.clock));
        state.has_cutoffs.store(cutoffs.len() > 0, Ordering::Release);
        cutoffs.len()
    }

    /// Returns the longest lifetime of a token, if it is limited.
    pub(crate) fn longest_lifetime(&self) -> Option<Duration> {
        self.0.max_token_lifetime
    }

    /// Notes the `iat` of a token that a policy admitted.
    #[inline]
    pub(crate) fn note_admitted(&self, active: &ActiveToken) {
        let state = &*self.0;
        let issuer = || state.hasher.hash_one(active.issuer());
        state.latest_iat.note(active, issuer, || state.clock.now());
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

impl RevocationState {
    #[inline]
    fn has_cutoffs(&self) -> bool {
        self.has_cutoffs.load(Ordering::Acquire)
    }

    /// Returns the times of a cutoff that arrives now.
    fn times(&self, cutoff: &Cutoff, issuer: u64) -> CutoffTimes {
        let learned_at = Moment::now(&*self.clock);
        if !self.clock.can_be_right(learned_at.wall()) {
            // There is no time to compare the given one with.
            return CutoffTimes { revoked_at: UNDATED, learned_at };
        }
        let now = self.latest_iat.time_of(issuer, learned_at.wall());
        let given = cutoff.at.unwrap_or(now);
        if given > now.saturating_add(MAX_CLOCK_AHEAD) {
            // No clock is that far ahead. It may be a time in milliseconds.
            cutoff_time_cut(&cutoff.issuer, given.saturating_duration_since(now));
            return CutoffTimes { revoked_at: now, learned_at };
        }
        CutoffTimes { revoked_at: given, learned_at }
    }

    fn claim_name(&self, kind: ClaimKind, value: &str, subject: Option<&str>) -> ClaimName {
        let subject = match kind {
            ClaimKind::Session | ClaimKind::Token => subject,
            ClaimKind::Client | ClaimKind::Subject => None,
        };
        let subject = subject.map(|subject| self.hasher.hash_one((ClaimKind::Subject, subject)));
        ClaimName {
            name: self.hasher.hash_one((kind, value)),
            is_token: kind == ClaimKind::Token,
            subject: subject.and_then(NonZeroU64::new),
        }
    }

    /// Removes the cutoffs that have ended.
    fn remove_ended(&self, cutoffs: &mut Cutoffs, now: Moment) {
        if let Some(longest) = self.max_token_lifetime
            && self.clock.can_be_right(now.wall())
        {
            cutoffs.remove_ended(longest, now);
        }
    }

    /// Sets the time of cutoffs that came while the clock could not be right, if it can be right
    /// now.
    #[cold]
    fn date_undated(&self) {
        let now = Moment::now(&*self.clock);
        if self.clock.can_be_right(now.wall()) {
            let mut cutoffs = self.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
            cutoffs.date(now);
            self.has_undated.store(false, Ordering::Release);
        }
    }

    fn check(&self, active: &ActiveToken) -> Standing {
        if self.has_undated.load(Ordering::Acquire) {
            self.date_undated();
        }
        let claims = active.claims();
        let cutoffs = self.cutoffs.read().unwrap_or_else(PoisonError::into_inner);
        let Some(issuer) = cutoffs.issuers.get(&self.hasher.hash_one(active.issuer())) else {
            let others = cutoffs.other_issuers;
            return others.map_or(Standing::Stands, |times| times.check(active));
        };
        let whole = issuer.whole_issuer;
        let mut standing = whole.map_or(Standing::Stands, |times| times.check(active));
        if issuer.by_claim.is_empty() {
            return standing;
        }
        // A single pass over the claims, because this runs for every request.
        for (claim, value) in claims.members() {
            let kind = match claim {
                "jti" => ClaimKind::Token,
                "sid" => ClaimKind::Session,
                "sub" => ClaimKind::Subject,
                // Each of them, not only the one that decides: more is covered, never less.
                claim if CLIENT_CLAIMS.contains(&claim) => ClaimKind::Client,
                _ => continue,
            };
            let Some(value) = json::decode_string(value) else { continue };
            let name = self.hasher.hash_one((kind, &*value));
            standing = match (issuer.by_claim.get(&name), kind) {
                (Some(cutoff), ClaimKind::Token) => {
                    worse(standing, cutoff.times.check_token(active))
                }
                (Some(cutoff), _) => worse(standing, cutoff.times.check(active)),
                (None, _) => standing,
            };
        }
        standing
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
