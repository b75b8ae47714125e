//! The times of one cutoff, and their results for verified facts.

use std::time::Duration;

use super::cutoff::Standing;
use crate::{
    clock::{Moment, UnixTime},
    verify::active::{ActiveToken, Method},
};

/// The most that the clock of an issuer is assumed to be ahead: the largest leeway of a policy
/// (`Policy::leeway`).
pub(super) const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(300);

/// The time of a revocation that came while the clock could not be right. It covers every token
/// until the clock can be right again.
pub(super) const UNDATED: UnixTime = UnixTime::from_millis(i64::MAX);

/// One cutoff.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutoffTimes {
    /// The time of the revocation, by the clock of the issuer. Tokens issued later are not
    /// affected. `None` if no token is revoked, and facts are only established anew.
    pub(super) revoked_at: Option<UnixTime>,
    /// The moment at which this process learned of it. Verifications that started later are not
    /// affected.
    pub(super) learned_at: Moment,
}

impl CutoffTimes {
    pub(super) fn check(self, active: &ActiveToken) -> Standing {
        match active.method() {
            // Checking the signature again can't detect a revocation.
            Method::Jwt if self.covers(active, true) => Standing::Revoked,
            Method::Jwt => Standing::Stands,
            // A custom verifier may or may not call the server, but the `iat` of its claims counts.
            Method::Custom if self.covers(active, false) => Standing::Revoked,
            _ => self.check_start(active),
        }
    }

    /// Checks a token named by its `jti`. Its `iat` does not matter: it can't have been issued
    /// after its revocation.
    pub(super) fn check_token(self, active: &ActiveToken) -> Standing {
        match active.method() {
            Method::Jwt | Method::Custom if self.revoked_at.is_some() => Standing::Revoked,
            Method::Jwt => Standing::Stands,
            _ => self.check_start(active),
        }
    }

    /// Returns true if the token was issued before the revocation. `undated` is the result for a
    /// token without `iat`.
    ///
    /// `iat` and the time of the revocation are often cut to the second. If they are equal, it is
    /// unknown which came first.
    fn covers(self, active: &ActiveToken, undated: bool) -> bool {
        self.revoked_at.is_some_and(|revoked_at| {
            active.claims().issued_at().map_or(undated, |issued| issued <= revoked_at)
        })
    }

    /// Checks the start of a verification at the server. The request to the server leaves after the
    /// start is read. So a verification that started at the very instant at which the cutoff became
    /// known reaches a server that knows the revocation.
    fn check_start(self, active: &ActiveToken) -> Standing {
        if active.verified_at().is_before(self.learned_at) {
            Standing::Outdated(self.learned_at)
        } else {
            Standing::Stands
        }
    }

    /// Adds what `other` covers. `None` is the earliest time of a revocation, so facts that are
    /// established anew do not weaken it.
    pub(super) fn merge(&mut self, other: Self) {
        self.revoked_at = self.revoked_at.max(other.revoked_at);
        self.learned_at = self.learned_at.latest(other.learned_at);
    }

    /// Returns this cutoff, moved forward to the moment at which it became known.
    pub(super) fn until_learned(self) -> Self {
        let learned = self.learned_at.wall();
        Self { revoked_at: self.revoked_at.map(|revoked_at| revoked_at.max(learned)), ..self }
    }

    /// Returns this cutoff, moved forward to cover every token issued until its time, even by an
    /// issuer whose clock is ahead.
    pub(super) fn extended(self) -> Self {
        let extend = |revoked_at: UnixTime| revoked_at.saturating_add(MAX_CLOCK_AHEAD);
        Self { revoked_at: self.revoked_at.map(extend), ..self }
    }

    /// Returns true if every token that the cutoff covers has expired, where none lives longer than
    /// `lifetime`.
    ///
    /// The clock of the issuer may be ahead, and an expired token may be tolerated, by
    /// `MAX_CLOCK_AHEAD` each. Both clocks must have passed the end: after a step of the wall clock
    /// forward and back, the tokens are valid again.
    pub(super) fn has_ended(self, lifetime: Duration, now: Moment) -> bool {
        let learned = self.learned_at.wall();
        let ahead =
            self.revoked_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(learned));
        let keep = ahead.saturating_add(lifetime).saturating_add(2 * MAX_CLOCK_AHEAD);
        self.revoked_at != Some(UNDATED)
            && now.wall() >= learned.saturating_add(keep)
            && now.monotonic_since(self.learned_at) >= keep
    }

    /// Sets the time of a revocation that has none, at a moment at which the clock can be right.
    pub(super) fn date(&mut self, now: Moment) {
        if self.revoked_at == Some(UNDATED) {
            let learned = now.wall().saturating_sub(now.monotonic_since(self.learned_at));
            self.revoked_at = Some(learned.saturating_add(MAX_CLOCK_AHEAD));
        }
    }
}

pub(super) fn worse(one: Standing, other: Standing) -> Standing {
    use Standing::{Outdated, Revoked, Stands};
    match (one, other) {
        (Revoked, _) | (_, Revoked) => Revoked,
        (Outdated(one), Outdated(other)) => Outdated(one.latest(other)),
        (Outdated(since), Stands) | (Stands, Outdated(since)) => Outdated(since),
        (Stands, Stands) => Stands,
    }
}

pub(super) fn merge(slot: &mut Option<CutoffTimes>, times: CutoffTimes) {
    match slot {
        Some(before) => before.merge(times),
        None => *slot = Some(times),
    }
}
