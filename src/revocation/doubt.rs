//! Doubt about all facts, after cutoffs may have been missed.

use std::{hash::BuildHasher, time::Duration};

use tokio::time::Instant;

use super::cutoff::Standing;
use crate::{
    clock::Moment,
    verify::active::{ActiveToken, Method},
};

/// Facts from before a moment count as outdated, each from another time on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    since: Moment,
    spread: Duration,
    /// The time from which on no fact from before counts.
    ends_at: Instant,
    /// The latest doubt that came before that time. Its spread begins then.
    next: Option<Moment>,
    /// The last one that has ended: no fact from before it counts.
    ended: Option<Moment>,
}

impl Doubt {
    /// Starts a doubt now, or when an earlier one has ended. However many there are, the tokens are
    /// verified again once in each spread.
    pub(super) fn new(earlier: Option<Self>, spread: Duration, now: Moment) -> Self {
        let earlier = earlier.map(|earlier| earlier.at(now.monotonic()));
        match earlier {
            Some(earlier) if earlier.ends_at > now.monotonic() => {
                Self { next: Some(now), ..earlier }
            }
            _ => {
                let (ends_at, ended) = (now.monotonic() + spread, earlier.map(|doubt| doubt.since));
                Self { since: now, spread, ends_at, next: None, ended }
            }
        }
    }

    /// Returns the doubt that goes on at a time.
    fn at(self, now: Instant) -> Self {
        match self.next {
            Some(next) if self.ends_at <= now => {
                let (ends_at, ended) = (self.ends_at + self.spread, Some(self.since));
                Self { since: next, ends_at, next: None, ended, ..self }
            }
            _ => self,
        }
    }

    /// Checks facts. The time of each depends on when it was established, by the hash of that.
    pub(super) fn check(
        &self,
        active: &ActiveToken,
        hasher: &impl BuildHasher,
        now: impl FnOnce() -> Instant,
    ) -> Standing {
        let verified_at = active.verified_at();
        if active.method() == Method::Jwt || !verified_at.is_before(self.next.unwrap_or(self.since))
        {
            return Standing::Stands;
        }
        let now = now();
        let doubt = self.at(now);
        // The upper half of the hash is enough to spread, and a number of this size is exact.
        let share = f64::from((hasher.hash_one(verified_at.monotonic()) >> 32) as u32)
            / f64::from(u32::MAX);
        let is_over = doubt.ended.is_some_and(|ended| verified_at.is_before(ended));
        let is_due = is_over || now + doubt.spread.mul_f64(share) >= doubt.ends_at;
        if verified_at.is_before(doubt.since) && is_due {
            Standing::Outdated(doubt.since)
        } else {
            Standing::Stands
        }
    }
}
