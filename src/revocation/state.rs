//! The state that clones of `Revocations` share.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    cutoff::{ClaimKind, Cutoff, Standing, Target},
    latest_iat::LatestIat,
    table::{ClaimName, Cutoffs, Name},
    times::{CutoffTimes, MAX_CLOCK_AHEAD, UNDATED, worse},
};
use crate::{
    changes::Changes,
    claims::{claims_set::CLIENT_CLAIMS, json},
    clock::{Clock, Moment},
    telemetry::events::cutoff_time_cut,
    verify::active::ActiveToken,
};

pub(super) struct RevocationState {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) capacity: usize,
    pub(super) max_token_lifetime: Option<Duration>,
    /// Randomly keyed, so that a client can't choose names with the same hash. Names with the same
    /// hash revoke each other, which is safe.
    hasher: RandomState,
    has_cutoffs: AtomicBool,
    /// True if a cutoff came while the clock could not be right.
    has_undated: AtomicBool,
    latest_iat: LatestIat,
    pub(super) cutoffs: RwLock<Cutoffs>,
    /// New cutoffs. Streams that are open wait for them.
    pub(super) changes: Changes,
}

impl RevocationState {
    pub(super) fn new(capacity: usize, longest: Option<Duration>, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            capacity,
            max_token_lifetime: longest,
            hasher: RandomState::new(),
            has_cutoffs: AtomicBool::new(false),
            has_undated: AtomicBool::new(false),
            latest_iat: LatestIat::new(),
            cutoffs: RwLock::default(),
            changes: Changes::new(),
        }
    }

    /// Adds a cutoff that revokes tokens.
    pub(super) fn revoke(&self, cutoff: &Cutoff) {
        let issuer = self.issuer_name(cutoff);
        self.add(cutoff, issuer, self.times(cutoff, issuer.hash));
    }

    /// Adds a cutoff that revokes no token.
    ///
    /// It needs no time, so a clock that can't be right makes no difference.
    pub(super) fn outdate(&self, cutoff: &Cutoff) {
        let times = CutoffTimes { revoked_at: None, learned_at: Moment::now(&*self.clock) };
        self.add(cutoff, self.issuer_name(cutoff), times);
    }

    /// Adds a cutoff with these times.
    fn add(&self, cutoff: &Cutoff, issuer: Name<'_>, times: CutoffTimes) {
        let mut cutoffs = self.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
        if cutoffs.may_have_ended(times.learned_at) {
            self.remove_ended(&mut cutoffs, times.learned_at);
        }
        match self.claim_name(cutoff) {
            None => cutoffs.add_issuer(issuer, times, self.capacity),
            Some(name) => cutoffs.add(issuer, name, times, self.capacity),
        }
        if times.revoked_at == Some(UNDATED) {
            self.has_undated.store(true, Ordering::Release);
        }
        self.has_cutoffs.store(true, Ordering::Release);
        drop(cutoffs);
        self.changes.happened();
    }

    /// Returns the number of cutoffs that have not ended.
    pub(super) fn len(&self) -> usize {
        let mut cutoffs = self.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
        self.remove_ended(&mut cutoffs, Moment::now(&*self.clock));
        self.has_cutoffs.store(cutoffs.len() > 0, Ordering::Release);
        cutoffs.len()
    }

    /// Notes the `iat` of a token that a policy admitted.
    #[inline]
    pub(super) fn note_admitted(&self, active: &ActiveToken) {
        let issuer = || self.hasher.hash_one(active.issuer());
        self.latest_iat.note(active, issuer, || self.clock.now());
    }

    #[inline]
    pub(super) fn has_cutoffs(&self) -> bool {
        self.has_cutoffs.load(Ordering::Acquire)
    }

    /// Returns the times of a revocation that arrives now.
    fn times(&self, cutoff: &Cutoff, issuer: u64) -> CutoffTimes {
        let learned_at = Moment::now(&*self.clock);
        if !self.clock.can_be_right(learned_at.wall()) {
            // There is no time to compare the given one with.
            return CutoffTimes { revoked_at: Some(UNDATED), learned_at };
        }
        let now = self.latest_iat.time_of(issuer, learned_at.wall());
        let given = cutoff.at.unwrap_or(now);
        if given > now.saturating_add(MAX_CLOCK_AHEAD) {
            // No clock is that far ahead. It may be a time in milliseconds.
            cutoff_time_cut(&cutoff.issuer, given.saturating_duration_since(now));
            return CutoffTimes { revoked_at: Some(now), learned_at };
        }
        CutoffTimes { revoked_at: Some(given), learned_at }
    }

    pub(super) fn issuer_name<'a>(&self, cutoff: &'a Cutoff) -> Name<'a> {
        Name { hash: self.hasher.hash_one(&cutoff.issuer), text: &cutoff.issuer }
    }

    /// Returns the name of a cutoff for one claim, or `None` for a whole issuer.
    pub(super) fn claim_name<'a>(&self, cutoff: &'a Cutoff) -> Option<ClaimName<'a>> {
        let name = |kind, text| Name { hash: self.hasher.hash_one((kind, text)), text };
        let Target::Claim(kind, value) = &cutoff.target else { return None };
        let subject = match kind {
            ClaimKind::Session | ClaimKind::Token => cutoff.subject.as_deref(),
            ClaimKind::Client | ClaimKind::Subject => None,
        };
        let subject = subject.map(|subject| name(ClaimKind::Subject, subject));
        Some(ClaimName { kind: *kind, value: name(*kind, value), subject })
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
    #[inline]
    pub(super) fn date_undated(&self) {
        if self.has_undated.load(Ordering::Acquire) {
            self.try_to_date();
        }
    }

    #[cold]
    fn try_to_date(&self) {
        let now = Moment::now(&*self.clock);
        if self.clock.can_be_right(now.wall()) {
            let mut cutoffs = self.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
            cutoffs.date(now);
            self.has_undated.store(false, Ordering::Release);
        }
    }

    pub(super) fn check(&self, active: &ActiveToken) -> Standing {
        self.date_undated();
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
