//! The cutoffs, by issuer, as many as there is room for.

use std::{collections::HashMap, time::Duration};

use super::Standing;
use crate::{
    clock::{Moment, UnixTime},
    verify::{ActiveToken, Method},
};

/// A cutoff that stands for others reaches this far into the future, so that a token that its issuer,
/// whose clock may be ahead, issued before it is covered.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(30);

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
            return self.overflow(issuer, line, capacity);
        }
        self.count += new;
        self.issuers.entry(issuer).or_default().some.insert(name, line);
    }

    pub(super) fn add_issuer(&mut self, issuer: u64, line: Line, capacity: usize) {
        if let Some(of) = self.issuers.get_mut(&issuer) {
            return merge(&mut of.all, line);
        }
        if self.count >= capacity {
            return self.overflow_all(line);
        }
        self.count += 1;
        self.issuers.insert(issuer, OfIssuer { all: Some(line), some: HashMap::new() });
    }

    /// Replaces the cutoffs of an issuer by one for all its tokens.
    fn overflow(&mut self, issuer: u64, line: Line, capacity: usize) {
        let line = line.covering();
        self.add_issuer(issuer, line, capacity);
        let Some(of) = self.issuers.get_mut(&issuer) else { return };
        let before = of.some.len();
        of.some.retain(|_, one| one.at > line.at);
        self.count -= before - of.some.len();
    }

    /// Replaces all cutoffs by one for all tokens.
    fn overflow_all(&mut self, line: Line) {
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
