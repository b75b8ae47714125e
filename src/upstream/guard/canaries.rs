//! The order in which canaries are sent: at most one a second for each origin, to its issuers in
//! turn.

use std::{collections::BTreeMap, time::Duration};

use super::{
    introspection::{Introspection, RegistrationId},
    recent::Time,
};

/// The shortest time between two canaries to one origin.
const BETWEEN: Duration = Duration::from_secs(1);

/// The reason for a canary. Those with an earlier variant come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A known token failed, so good clients may be without service. Clients without a known token
    /// can't delay these canaries by failures at many issuers.
    KnownFailed,
    /// An unknown token failed.
    Failed,
    /// Nothing failed.
    Regular,
}

impl Urgency {
    /// Returns the urgency after a failure, or after an introspection that is slow.
    pub(super) const fn after(introspection: &Introspection) -> Self {
        if introspection.is_known() { Self::KnownFailed } else { Self::Failed }
    }
}

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    urgency: Urgency,
    number: u64,
}

/// The registrations that a canary will be sent to, in order.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: BTreeMap<Turn, RegistrationId>,
    count: u64,
    last_sent: Option<Time>,
    /// True if a turn was added since the task last looked.
    is_changed: bool,
}

impl Turns {
    /// Adds a registration behind those of the same urgency, unless it has a turn that is at least as
    /// urgent. Returns its turn.
    pub(super) fn add(
        &mut self,
        registration: RegistrationId,
        turn: Option<Turn>,
        urgency: Urgency,
    ) -> Turn {
        if let Some(turn) = turn {
            if turn.urgency <= urgency {
                return turn;
            }
            self.remove(turn);
        }
        self.is_changed = true;
        self.count += 1;
        let turn = Turn { urgency, number: self.count };
        self.waiting.insert(turn, registration);
        turn
    }

    pub(super) fn remove(&mut self, turn: Turn) {
        self.waiting.remove(&turn);
    }

    /// Returns true if a turn was added since the last call.
    pub(super) const fn take_change(&mut self) -> bool {
        std::mem::replace(&mut self.is_changed, false)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.waiting.keys().next().is_some_and(|turn| turn.urgency < Urgency::Regular)
    }

    /// Returns the registrations in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = RegistrationId> {
        self.waiting.values().copied()
    }

    pub(super) const fn note_sent(&mut self, now: Time) {
        self.last_sent = Some(now);
    }

    /// Returns the time from which the next canary may be sent.
    pub(super) fn earliest(&self) -> Time {
        self.last_sent.map_or(Time::ZERO, |last| last + BETWEEN)
    }
}
