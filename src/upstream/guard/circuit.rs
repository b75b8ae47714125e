//! The breaker of an origin, or of one issuer and client.

use std::time::Duration;

use super::recent::{Id, Time};

/// The failures that opened a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenedBy {
    /// Connections could not be made.
    Connections,
    /// Canaries failed.
    Canaries,
    /// Canaries failed, and the server has never answered about any token. It may be one that
    /// answers about good tokens only, so more questions pass than otherwise.
    NoAnswerYet,
    /// Tokens that are known to be good failed. Only an answer about such a token closes the
    /// breaker again: a server may answer about others without the storage that good ones need.
    KnownTokens,
}

/// How long one token waits for the next, while the breaker is open.
const BETWEEN_TRIALS: Duration = Duration::from_secs(1);

/// The same where the server has never answered.
const BETWEEN_FIRST_TRIALS: Duration = Duration::from_millis(100);

/// The same for another token of the same subject.
const BETWEEN_TRIALS_OF_ONE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Circuit {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    by: OpenedBy,
    since: Time,
    last_trial: (Time, Option<Id>),
}

impl Circuit {
    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Returns the time at which the breaker opened.
    pub(super) fn open_since(&self) -> Option<Time> {
        self.open.as_ref().map(|open| open.since)
    }

    /// Opens the breaker. Returns true if it was closed.
    pub(super) fn open(&mut self, by: OpenedBy, now: Time) -> bool {
        match &mut self.open {
            Some(open) => {
                if by == OpenedBy::KnownTokens {
                    open.by = by;
                }
                false
            }
            None => {
                self.open = Some(Open { by, since: now, last_trial: (now, None) });
                true
            }
        }
    }

    /// Closes the breaker after an answer to a question that was asked at `asked`. Returns true if
    /// it was open.
    pub(super) fn close(&mut self, asked: Time, about_known: bool) -> bool {
        let closes = self.open.as_ref().is_some_and(|open| {
            asked > open.since && (open.by != OpenedBy::KnownTokens || about_known)
        });
        if closes {
            self.open = None;
        }
        closes
    }

    /// Returns true if a question about a token of this subject may pass: the breaker is closed, or
    /// it is time for a trial.
    pub(super) fn lets_pass(&mut self, subject: Option<Id>, now: Time) -> bool {
        let Some(open) = &mut self.open else { return true };
        let (last, of) = open.last_trial;
        let same = subject.is_some() && subject == of;
        let wait = match open.by {
            OpenedBy::NoAnswerYet => BETWEEN_FIRST_TRIALS,
            _ if same => BETWEEN_TRIALS_OF_ONE,
            _ => BETWEEN_TRIALS,
        };
        let passes = now.saturating_sub(last) >= wait;
        if passes {
            open.last_trial = (now, subject);
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Time = Duration::from_secs(1);

    fn subject(number: u64) -> Option<Id> {
        Some(Id::of(number))
    }

    #[test]
    fn open_breaker_lets_one_question_a_second_pass_in_turn_by_subject() {
        let mut circuit = Circuit::default();
        assert!(circuit.lets_pass(subject(1), SEC) && circuit.lets_pass(subject(1), SEC));
        assert!(circuit.open(OpenedBy::Canaries, SEC) && !circuit.open(OpenedBy::Canaries, SEC));
        assert!(!circuit.lets_pass(subject(1), SEC + SEC / 2));
        assert!(circuit.lets_pass(subject(1), 2 * SEC));
        assert!(!circuit.lets_pass(subject(1), 3 * SEC), "the same subject waits for longer");
        assert!(circuit.lets_pass(subject(2), 3 * SEC) && !circuit.lets_pass(subject(3), 3 * SEC));
    }

    #[test]
    fn answer_to_a_later_question_closes_the_breaker() {
        let mut circuit = Circuit::default();
        circuit.open(OpenedBy::Connections, SEC);
        assert!(!circuit.close(SEC, true), "it was asked before");
        assert!(circuit.close(2 * SEC, false) && !circuit.is_open());
    }

    #[test]
    fn breaker_that_known_tokens_opened_is_closed_by_known_tokens_only() {
        let mut circuit = Circuit::default();
        circuit.open(OpenedBy::Canaries, SEC);
        circuit.open(OpenedBy::KnownTokens, 2 * SEC);
        assert_eq!(circuit.open_since(), Some(SEC));
        assert!(!circuit.close(3 * SEC, false) && circuit.close(3 * SEC, true));
    }
}
