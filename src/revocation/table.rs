//! The cutoffs, by issuer, as many as there is room for.

use std::{collections::HashMap, time::Duration};

use super::Standing;
use crate::{
    clock::{Moment, UnixTime},
    verify::active::{ActiveToken, Method},
};

/// How far the clock of an issuer is taken to be ahead: as far as any policy may be told to tolerate
/// (`Policy::leeway`). A cutoff that stands for others reaches this far into the future, so that a token
/// that its issuer issued before it is covered.
pub(super) const CLOCK_DIFFERENCE: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Cutoffs {
    /// Issuers included.
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
    /// By the clock of the issuer. Tokens issued later stand.
    pub(super) at: UnixTime,
    /// When this process was told. Verifications that started later stand.
    pub(super) known: Moment,
}

impl Line {
    pub(super) fn check(self, active: &ActiveToken) -> Standing {
        // `iat` is often cut to the second, and so may be the time of the revocation: of two that are
        // the same, it is unknown which came first.
        let issued_later = active.claims().issued_at().map(|issued| issued > self.at);
        match active.method() {
            // A signature says nothing about a revocation, however often it is checked.
            Method::Jwt if issued_later != Some(true) => Standing::Revoked,
            Method::Jwt => Standing::Stands,
            // Nobody knows what it asks. What it says of the token's age counts.
            Method::Custom if issued_later == Some(false) => Standing::Revoked,
            _ => self.check_start(active),
        }
    }

    /// One token is revoked whatever its `iat` says: it can't have been issued after that.
    pub(super) fn check_token(self, active: &ActiveToken) -> Standing {
        match active.method() {
            Method::Jwt | Method::Custom => Standing::Revoked,
            _ => self.check_start(active),
        }
    }

    /// A question leaves after its start was read, so one that started at the very instant at which
    /// the cutoff became known is answered by a server that knows too.
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

    /// A line that covers whatever any line until now does.
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
            // Often enough that it is worth the walk over all of them.
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

    /// Replaces the older half of all cutoffs by one for all tokens of each issuer: what is that old
    /// has mostly expired.
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

    /// Replaces all cutoffs by one for all tokens.
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
