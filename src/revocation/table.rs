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
pub(super) const CLOCK_DIFFERENCE: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Cutoffs {
    /// The number of cutoffs in `some`, plus one for each issuer.
    count: usize,
    pub(super) everyone: Option<Line>,
    pub(super) issuers: HashMap<u64, OfIssuer>,
}

#[derive(Default)]
pub(super) struct OfIssuer {
    pub(super) all: Option<Line>,
    pub(super) some: HashMap<u64, Line>,
}

/// One cutoff.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// The time of the revocation, by the clock of the issuer. Tokens issued later are not
    /// affected.
    pub(super) at: UnixTime,
    /// The moment at which this process learned of it. Verifications that started later are not
    /// affected.
    pub(super) known: Moment,
}

impl Line {
    pub(super) fn check(self, active: &ActiveToken) -> Standing {
        // `iat` and the time of the revocation are often cut to the second. If they are equal, it
        // is unknown which came first.
        let issued_later = active.claims().issued_at().map(|issued| issued > self.at);
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
        if active.verified_at().is_before(self.known) {
            Standing::Outdated(self.known)
        } else {
            Standing::Stands
        }
    }

    fn merge(&mut self, other: Self) {
        self.at = self.at.max(other.at);
        self.known = self.known.latest(other.known);
    }

    /// Returns a cutoff that covers every token issued until this one became known, even by a clock
    /// that is ahead.
    fn covering(self) -> Self {
        let now = self.known.wall().max(self.at);
        Self { at: now.saturating_add(CLOCK_DIFFERENCE), ..self }
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
    pub(super) fn add(&mut self, issuer: u64, name: u64, line: Line, capacity: usize) {
        let of = self.issuers.get_mut(&issuer);
        if let Some(before) = of.and_then(|of| of.some.get_mut(&name)) {
            return before.merge(line);
        }
        let new = 1 + usize::from(!self.issuers.contains_key(&issuer));
        if self.count + new > capacity {
            self.fold_older();
            // Folding walks over all cutoffs, so it must free a quarter of them to be worth it.
            if self.count + new > capacity - capacity / 4 {
                return self.overflow(line);
            }
        }
        self.count += 1 + usize::from(!self.issuers.contains_key(&issuer));
        self.issuers.entry(issuer).or_default().some.insert(name, line);
    }

    pub(super) fn add_issuer(&mut self, issuer: u64, line: Line, capacity: usize) {
        if let Some(of) = self.issuers.get_mut(&issuer) {
            return merge(&mut of.all, line);
        }
        if self.count >= capacity {
            self.fold_older();
            if self.count >= capacity - capacity / 4 {
                return self.overflow(line);
            }
        }
        self.count += 1;
        self.issuers.insert(issuer, OfIssuer { all: Some(line), some: HashMap::new() });
    }

    /// Replaces the older half of all cutoffs by one for all tokens of each issuer. Most tokens
    /// that old have expired.
    fn fold_older(&mut self) {
        let lines = self.issuers.values().flat_map(|of| of.some.values());
        let mut times: Vec<_> = lines.map(|line| line.covering().at).collect();
        if times.is_empty() {
            return;
        }
        let middle = times.len() / 2;
        let (_, &mut until, _) = times.select_nth_unstable(middle);
        for of in self.issuers.values_mut() {
            let OfIssuer { all, some } = of;
            some.retain(|_, line| {
                let covering = line.covering();
                let old = covering.at <= until;
                if old {
                    merge(all, covering);
                }
                !old
            });
        }
        self.count = self.issuers.values().map(|of| 1 + of.some.len()).sum();
    }

    /// Replaces all cutoffs by one for the tokens of all issuers.
    fn overflow(&mut self, line: Line) {
        let issuers = self.issuers.values().flat_map(|of| of.some.values().chain(&of.all));
        let latest = issuers.map(|line| line.at).max().map_or(line.at, |at| at.max(line.at));
        merge(&mut self.everyone, Line { at: latest, ..line }.covering());
        self.issuers.clear();
        self.count = 0;
    }
}

fn merge(place: &mut Option<Line>, line: Line) {
    match place {
        Some(before) => before.merge(line),
        None => *place = Some(line),
    }
}
