//! A table of cutoffs by issuer, bounded in number.

use std::{collections::HashMap, time::Duration};

use super::cutoff::Standing;
use crate::{
    clock::{Moment, UnixTime},
    verify::active::{ActiveToken, Method},
};

/// The most that the clock of an issuer is assumed to be ahead: the largest leeway of a policy
/// (`Policy::leeway`). A cutoff that replaces others is moved this far into the future, so that it
/// covers tokens issued before it by a clock that is ahead.
pub(super) const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Cutoffs {
    /// The number of cutoffs in `by_claim`, plus one for each issuer.
    count: usize,
    pub(super) all_issuers: Option<CutoffTimes>,
    pub(super) issuers: HashMap<u64, IssuerCutoffs>,
}

#[derive(Default)]
pub(super) struct IssuerCutoffs {
    pub(super) whole_issuer: Option<CutoffTimes>,
    pub(super) by_claim: HashMap<u64, CutoffTimes>,
}

/// One cutoff.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutoffTimes {
    /// The time of the revocation, by the clock of the issuer. Tokens issued later are not
    /// affected.
    pub(super) revoked_at: UnixTime,
    /// The moment at which this process learned of it. Verifications that started later are not
    /// affected.
    pub(super) learned_at: Moment,
}

impl CutoffTimes {
    pub(super) fn check(self, active: &ActiveToken) -> Standing {
        // `iat` and the time of the revocation are often cut to the second. If they are equal, it
        // is unknown which came first.
        let issued_later = active.claims().issued_at().map(|issued| issued > self.revoked_at);
        match active.method() {
            // Checking the signature again can't detect a revocation.
            Method::Jwt if issued_later != Some(true) => Standing::Revoked,
            Method::Jwt => Standing::Stands,
            // A custom verifier may or may not call the server, but the `iat` of its claims counts.
            Method::Custom if issued_later == Some(false) => Standing::Revoked,
            _ => self.check_start(active),
        }
    }

    /// Checks a token revoked by its `jti`. Its `iat` does not matter: it can't have been issued
    /// after its revocation.
    pub(super) fn check_token(self, active: &ActiveToken) -> Standing {
        match active.method() {
            Method::Jwt | Method::Custom => Standing::Revoked,
            _ => self.check_start(active),
        }
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

    fn merge(&mut self, other: Self) {
        self.revoked_at = self.revoked_at.max(other.revoked_at);
        self.learned_at = self.learned_at.latest(other.learned_at);
    }

    /// Returns this cutoff, moved forward to cover every token issued before it became known, even
    /// by an issuer whose clock is ahead.
    fn extended(self) -> Self {
        let now = self.learned_at.wall().max(self.revoked_at);
        Self { revoked_at: now.saturating_add(MAX_CLOCK_AHEAD), ..self }
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

impl Cutoffs {
    pub(super) fn add(&mut self, issuer: u64, name: u64, times: CutoffTimes, capacity: usize) {
        let known = self.issuers.get_mut(&issuer);
        if let Some(before) = known.and_then(|known| known.by_claim.get_mut(&name)) {
            return before.merge(times);
        }
        let new = 1 + usize::from(!self.issuers.contains_key(&issuer));
        if self.count + new > capacity {
            self.merge_older();
            // `merge_older` walks over all cutoffs. If it frees less than a quarter of the capacity,
            // it would soon run again, so merge all of them instead.
            if self.count + new > capacity - capacity / 4 {
                return self.merge_all(times);
            }
        }
        self.count += new;
        self.issuers.entry(issuer).or_default().by_claim.insert(name, times);
    }

    pub(super) fn add_issuer(&mut self, issuer: u64, times: CutoffTimes, capacity: usize) {
        if let Some(known) = self.issuers.get_mut(&issuer) {
            return merge(&mut known.whole_issuer, times);
        }
        if self.count >= capacity {
            self.merge_older();
            if self.count >= capacity - capacity / 4 {
                return self.merge_all(times);
            }
        }
        self.count += 1;
        self.issuers
            .insert(issuer, IssuerCutoffs { whole_issuer: Some(times), by_claim: HashMap::new() });
    }

    /// Replaces the older half of all cutoffs by one for all tokens of each issuer. Most tokens
    /// that old have expired.
    fn merge_older(&mut self) {
        let all = self.issuers.values().flat_map(|issuer| issuer.by_claim.values());
        let mut ends: Vec<_> = all.map(|times| times.extended().revoked_at).collect();
        if ends.is_empty() {
            return;
        }
        let middle = ends.len() / 2;
        let (_, &mut until, _) = ends.select_nth_unstable(middle);
        for issuer in self.issuers.values_mut() {
            let IssuerCutoffs { whole_issuer, by_claim } = issuer;
            by_claim.retain(|_, times| {
                let extended = times.extended();
                let old = extended.revoked_at <= until;
                if old {
                    merge(whole_issuer, extended);
                }
                !old
            });
        }
        self.count = self.issuers.values().map(|issuer| 1 + issuer.by_claim.len()).sum();
    }

    /// Replaces all cutoffs by one for the tokens of all issuers.
    fn merge_all(&mut self, times: CutoffTimes) {
        let issuers = self.issuers.values();
        let all = issuers.flat_map(|issuer| issuer.by_claim.values().chain(&issuer.whole_issuer));
        let revoked_at = all.map(|times| times.revoked_at).fold(times.revoked_at, UnixTime::max);
        merge(&mut self.all_issuers, CutoffTimes { revoked_at, ..times }.extended());
        self.issuers.clear();
        self.count = 0;
    }
}

fn merge(slot: &mut Option<CutoffTimes>, times: CutoffTimes) {
    match slot {
        Some(before) => before.merge(times),
        None => *slot = Some(times),
    }
}
