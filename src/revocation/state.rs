//! The state that clones of `Revocations` share.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    change::CutoffChange,
    cutoff::{ClaimKind, Cutoff, Standing, Target},
    doubt::Doubt,
    feed::{CutoffFeed, FeedState},
    latest_iat::LatestIat,
    table::{ClaimName, Cutoffs, Name},
    times::{CutoffTimes, MAX_CLOCK_AHEAD, UNDATED, worse},
};
use crate::{
    changes::Changes,
    claims::{claims_set::CLIENT_CLAIMS, json},
    clock::{Clock, Moment, UnixTime},
    error::config::ConfigError,
    telemetry::events::cutoff_time_cut,
    verify::active::{ActiveToken, Method},
};

pub(super) struct RevocationState {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) capacity: usize,
    pub(super) max_token_lifetime: Option<Duration>,
    /// Randomly keyed, so that a client can't choose names with the same hash. Names with the same
    /// hash revoke each other, which is safe.
    hasher: RandomState,
    /// True if there are cutoffs, or was a doubt.
    has_cutoffs: AtomicBool,
    /// True if a cutoff came while the clock could not be right.
    has_undated: AtomicBool,
    latest_iat: LatestIat,
    pub(super) cutoffs: RwLock<Cutoffs>,
    /// New cutoffs. Streams that are open wait for them.
    pub(super) changes: Changes,
    feed: OnceLock<Arc<dyn CutoffFeed>>,
    /// True if JWTs that are verified locally depend on the feed, because nothing else revokes them.
    is_required: AtomicBool,
    /// False while cutoffs of other instances may have been missed.
    is_current: AtomicBool,
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
            feed: OnceLock::new(),
            is_required: AtomicBool::new(false),
            is_current: AtomicBool::new(false),
        }
    }

    pub(super) fn connect(&self, feed: Arc<dyn CutoffFeed>) -> Result<(), ConfigError> {
        let is_required = feed.is_required();
        let connected = self.feed.set(feed);
        connected.map_err(|_| ConfigError::of("revocations", "they have a feed already"))?;
        self.is_required.store(is_required, Ordering::Release);
        Ok(())
    }

    pub(super) fn feed(&self) -> Option<&Arc<dyn CutoffFeed>> {
        self.feed.get()
    }

    pub(super) fn feed_state(&self) -> Option<FeedState> {
        self.feed()?;
        let is_current = self.is_current.load(Ordering::Acquire);
        Some(if is_current { FeedState::Current } else { FeedState::Behind })
    }

    /// Sets the state of the feed. Returns true if it was another one.
    pub(super) fn set_feed_state(&self, state: FeedState) -> bool {
        let is_current = state == FeedState::Current;
        self.is_current.swap(is_current, Ordering::AcqRel) != is_current
    }

    /// Returns true if a token is verified locally, and cutoffs for it may have been missed.
    #[inline]
    pub(super) fn is_unsure_of(&self, active: &ActiveToken) -> bool {
        self.is_required.load(Ordering::Acquire)
            && !self.is_current.load(Ordering::Acquire)
            && matches!(active.method(), Method::Jwt | Method::Custom)
    }

    /// Tells a change to the other instances.
    pub(super) fn publish(&self, change: impl FnOnce() -> CutoffChange) {
        if let Some(feed) = self.feed() {
            feed.publish(change());
        }
    }

    /// Outdates all facts from before now, over some time.
    pub(super) fn doubt(&self, spread: Duration) {
        let now = Moment::now(&*self.clock);
        let mut cutoffs = self.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
        cutoffs.doubt = Some(Doubt::new(cutoffs.doubt, spread, now));
        self.has_cutoffs.store(true, Ordering::Release);
        drop(cutoffs);
        self.changes.happened();
    }

    /// Adds a cutoff that revokes tokens. Returns the time until which they are revoked.
    pub(super) fn revoke(&self, cutoff: &Cutoff) -> Option<UnixTime> {
        let issuer = self.issuer_name(cutoff);
        let times = self.times(cutoff, issuer.hash, MAX_CLOCK_AHEAD);
        self.add(cutoff, issuer, times);
        times.revoked_at.filter(|at| *at != UNDATED)
    }

    /// Adds a cutoff of another instance. Its time may be that of a cutoff for more tokens, and that
    /// instance has another clock.
    pub(super) fn revoke_as_told(&self, cutoff: &Cutoff) {
        let issuer = self.issuer_name(cutoff);
        self.add(cutoff, issuer, self.times(cutoff, issuer.hash, 2 * MAX_CLOCK_AHEAD));
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
        self.has_cutoffs.store(cutoffs.len() > 0 || cutoffs.doubt.is_some(), Ordering::Release);
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

    /// Returns the times of a revocation that arrives now. One that is further `ahead` can't be right.
    fn times(&self, cutoff: &Cutoff, issuer: u64, ahead: Duration) -> CutoffTimes {
        let learned_at = Moment::now(&*self.clock);
        if !self.clock.can_be_right(learned_at.wall()) {
            // There is no time to compare the given one with.
            return CutoffTimes { revoked_at: Some(UNDATED), learned_at };
        }
        let now = self.latest_iat.time_of(issuer, learned_at.wall());
        let given = cutoff.at.unwrap_or(now);
        if given > now.saturating_add(ahead) {
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
        let now = || Moment::now(&*self.clock).monotonic();
        let doubt = cutoffs.doubt.as_ref();
        let doubted =
            doubt.map_or(Standing::Stands, |doubt| doubt.check(active, &self.hasher, now));
        let Some(issuer) = cutoffs.issuers.get(&self.hasher.hash_one(active.issuer())) else {
            let others = cutoffs.other_issuers;
            return others.map_or(doubted, |times| worse(doubted, times.check(active)));
        };
        let whole = issuer.whole_issuer;
        let mut standing = whole.map_or(doubted, |times| worse(doubted, times.check(active)));
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
