//! The order in which canaries are sent: at most one a second for each origin, to its issuers in
//! turn.

use std::{collections::BTreeMap, time::Duration};

use super::{introspection::RegistrationId, recent::Time};

/// The shortest time between two canaries to one origin.
const BETWEEN: Duration = Duration::from_secs(1);

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    is_urgent: bool,
    number: u64,
}

/// The issuers that a canary will be sent to. Those with a failure come before the others.
#[derive(Debug, Default)]
pub(super) struct Turns {
    urgent: BTreeMap<u64, RegistrationId>,
    ordinary: BTreeMap<u64, RegistrationId>,
    count: u64,
    last_sent: Option<Time>,
    /// True if a turn was added since the task last looked.
    is_changed: bool,
}

impl Turns {
    /// Adds an issuer to the end, or moves it from the ordinary ones to the urgent ones. Returns
    /// its place.
    pub(super) fn add(
        &mut self,
        registration: RegistrationId,
        turn: Option<Turn>,
        is_urgent: bool,
    ) -> Turn {
        if let Some(turn) = turn {
            if turn.is_urgent || !is_urgent {
                return turn;
            }
            self.remove(turn);
        }
        self.is_changed = true;
        self.count += 1;
        let number = self.count;
        self.part(is_urgent).insert(number, registration);
        Turn { is_urgent, number }
    }

    pub(super) fn remove(&mut self, turn: Turn) {
        self.part(turn.is_urgent).remove(&turn.number);
    }

    fn part(&mut self, is_urgent: bool) -> &mut BTreeMap<u64, RegistrationId> {
        if is_urgent { &mut self.urgent } else { &mut self.ordinary }
    }

    /// Returns true if a turn was added since the last call.
    pub(super) const fn take_change(&mut self) -> bool {
        std::mem::replace(&mut self.is_changed, false)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.ordinary.is_empty()
    }

    pub(super) fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Returns the issuers in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = RegistrationId> {
        self.urgent.values().chain(self.ordinary.values()).copied()
    }

    pub(super) const fn note_sent(&mut self, now: Time) {
        self.last_sent = Some(now);
    }

    /// Returns the time from which the next canary may be sent.
    pub(super) fn earliest(&self) -> Time {
        self.last_sent.map_or(Time::ZERO, |last| last + BETWEEN)
    }
}
