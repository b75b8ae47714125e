//! The queue of statements whose keys can't be had just now.

use std::{collections::VecDeque, time::Duration};

use super::statement::Statement;
use crate::refresh::asker::Asker;

/// The number of places for peers that delivered a verified signal before, and of those for all
/// others. Each statement has 16 KiB at most.
const PLACES: usize = 128;

/// The longest time that a statement waits for its keys.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time that a statement of a peer that never delivered a verified one waits for a key that
/// is not among those of its issuer.
pub(super) const MAX_WAIT_OF_STRANGERS: Duration = Duration::from_secs(10 * 60);

/// The statements that wait for keys, in the order of their arrival.
///
/// Strangers can name keys that do not exist, so one peer that never delivered a verified signal has
/// one place. If peers are unknown, they share the places for others.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) statement: Statement,
    pub(super) asker: Asker,
    /// True if it has one of the places for peers that delivered a verified signal before.
    pub(super) is_proven: bool,
}

/// The result of adding a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Added,
    /// The statement waits already.
    Known,
    /// There is no place.
    Full,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a statement. `is_proven` is true if its peer delivered a verified signal before.
    pub(super) fn push(&mut self, statement: &Statement, asker: Asker, is_proven: bool) -> Placed {
        if self.waiting.iter().any(|waiting| waiting.statement.text == statement.text) {
            return Placed::Known;
        }
        let taken = |proven| self.waiting.iter().filter(|it| it.is_proven == proven).count();
        let of_peer = |it: &Waiting| !it.is_proven && it.asker == asker;
        let one_each = asker != Asker::UnknownPeer && self.waiting.iter().any(of_peer);
        let is_proven = match (is_proven, taken(false) < PLACES) {
            (true, _) if taken(true) < PLACES => true,
            (true, true) => false,
            (false, true) if !one_each => false,
            _ => return Placed::Full,
        };
        let statement = statement.clone();
        self.waiting.push_back(Waiting { statement, asker, is_proven });
        Placed::Added
    }

    /// Returns all that wait.
    pub(super) fn all(&self) -> Vec<Waiting> {
        self.waiting.iter().cloned().collect()
    }

    /// Removes a statement.
    pub(super) fn remove(&mut self, statement: &Statement) {
        self.waiting.retain(|waiting| waiting.statement.text != statement.text);
    }
}
