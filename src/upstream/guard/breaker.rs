//! The breaker of an origin or of one registration.

use std::{collections::HashMap, time::Duration};

use super::recent::{Id, Time};

/// The failures that opened a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenedBy {
    /// Connections could not be made.
    Connections,
    /// Canaries failed.
    Canaries,
    /// Canaries failed, and the server has never responded about any token. It may be one that
    /// responds about good tokens only, so more introspections pass than otherwise.
    NoResponseYet,
    /// Known tokens failed. Only a response about such a token, or about a token of this service,
    /// closes the breaker again: a server may respond about others without the storage that those
    /// need.
    KnownTokens,
}

/// The pause between two trials while the breaker is open.
const BETWEEN_TRIALS: Duration = Duration::from_secs(1);

/// The pause between two trials if the server has never responded.
const BETWEEN_FIRST_TRIALS: Duration = Duration::from_millis(100);

/// The pause after the first trial with a token of a subject, and the longest. Each trial doubles it,
/// so that a few subjects whose tokens always fail don't take the trials of all others.
///
/// The pause of an unknown token stays the first. A client can make up any number of these, so a longer
/// one would only hold up the clients that ask with the same token again.
const PAUSE_OF_SUBJECT: Duration = Duration::from_secs(2);
const LONGEST_PAUSE_OF_SUBJECT: Duration = Duration::from_secs(16);

/// The number of subjects whose trials are kept before old ones are forgotten.
const KEPT_SUBJECTS: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    by: OpenedBy,
    since: Time,
    last_trial: Time,
    /// The time of the next trial of each subject, and the pause before it.
    subjects: HashMap<Id, (Time, Duration)>,
}

impl Breaker {
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
                let subjects = HashMap::new();
                self.open = Some(Open { by, since: now, last_trial: now, subjects });
                true
            }
        }
    }

    /// Closes the breaker after a response to a request sent at `sent_at`. `is_deep` is true for
    /// known tokens and for a token of this service, which need the storage of the server. Returns
    /// true if the breaker was open.
    pub(super) fn close(&mut self, sent_at: Time, is_deep: bool) -> bool {
        let closes = self.open.as_ref().is_some_and(|open| {
            sent_at > open.since && (open.by != OpenedBy::KnownTokens || is_deep)
        });
        if closes {
            self.open = None;
        }
        closes
    }

    /// Returns true if an introspection of a token of this subject may pass, because the breaker is
    /// closed or a trial is due.
    pub(super) fn lets_pass(&self, subject: Id, now: Time) -> bool {
        let Some(open) = &self.open else { return true };
        let pause = match open.by {
            OpenedBy::NoResponseYet => BETWEEN_FIRST_TRIALS,
            _ => BETWEEN_TRIALS,
        };
        let is_in_turn = open.subjects.get(&subject).is_none_or(|(next, _)| *next <= now);
        is_in_turn && now.saturating_sub(open.last_trial) >= pause
    }

    /// Notes a trial with a token of this subject, which is the token itself unless it `is_known`.
    pub(super) fn note_trial(&mut self, subject: Id, is_known: bool, now: Time) {
        let Some(open) = &mut self.open else { return };
        open.last_trial = now;
        let before = open.subjects.get(&subject).filter(|_| is_known).map(|(_, pause)| *pause);
        let pause = before.map_or(PAUSE_OF_SUBJECT, |pause| {
            pause.saturating_mul(2).min(LONGEST_PAUSE_OF_SUBJECT)
        });
        if open.subjects.len() >= KEPT_SUBJECTS {
            open.subjects.retain(|_, (next, _)| *next > now);
        }
        open.subjects.insert(subject, (now + pause, pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Time = Duration::from_secs(1);

    fn subject(number: u64) -> Id {
        Id::of(number)
    }

    #[test]
    fn open_breaker_lets_one_introspection_a_second_pass() {
        let mut breaker = Breaker::default();
        assert!(breaker.lets_pass(subject(1), SEC));
        assert!(breaker.open(OpenedBy::Canaries, SEC) && !breaker.open(OpenedBy::Canaries, SEC));
        assert!(!breaker.lets_pass(subject(1), SEC + SEC / 2));
        assert!(breaker.lets_pass(subject(1), 2 * SEC));
        breaker.note_trial(subject(1), true, 2 * SEC);
        assert!(!breaker.lets_pass(subject(2), 2 * SEC + SEC / 2));
        assert!(breaker.lets_pass(subject(2), 3 * SEC));
    }

    /// Two subjects whose tokens always fail ask without a pause.
    #[test]
    fn few_subjects_do_not_take_the_trials_of_all_others() {
        let mut breaker = Breaker::default();
        breaker.open(OpenedBy::KnownTokens, SEC);
        let (mut others, mut taken) = (0, 0);
        for second in 2..102_u32 {
            let now = SEC * second;
            match [1, 2].into_iter().find(|one| breaker.lets_pass(subject(*one), now)) {
                Some(one) => {
                    breaker.note_trial(subject(one), true, now);
                    taken += 1;
                }
                None => {
                    assert!(breaker.lets_pass(subject(100 + u64::from(second)), now));
                    breaker.note_trial(subject(100 + u64::from(second)), true, now);
                    others += 1;
                }
            }
        }
        assert!(taken <= 20 && others >= 80, "{taken} and {others}");
    }

    #[test]
    fn unknown_token_is_tried_again_every_two_seconds() {
        let mut breaker = Breaker::default();
        breaker.open(OpenedBy::NoResponseYet, SEC);
        for trial in 1..100_u32 {
            let now = 2 * SEC * trial;
            assert!(breaker.lets_pass(subject(1), now), "{now:?}");
            breaker.note_trial(subject(1), false, now);
            assert!(!breaker.lets_pass(subject(1), now + SEC));
        }
    }

    #[test]
    fn trials_that_are_kept_are_bounded() {
        let mut breaker = Breaker::default();
        breaker.open(OpenedBy::NoResponseYet, SEC);
        for number in 0..10_000_u32 {
            breaker.note_trial(subject(number.into()), false, SEC + SEC / 10 * number);
        }
        assert!(breaker.open.unwrap().subjects.len() <= KEPT_SUBJECTS + 1);
    }

    #[test]
    fn response_to_a_later_introspection_closes_the_breaker() {
        let mut breaker = Breaker::default();
        breaker.open(OpenedBy::Connections, SEC);
        assert!(!breaker.close(SEC, true), "it was asked before");
        assert!(breaker.close(2 * SEC, false) && !breaker.is_open());
    }

    #[test]
    fn breaker_that_known_tokens_opened_is_closed_by_known_tokens_only() {
        let mut breaker = Breaker::default();
        breaker.open(OpenedBy::Canaries, SEC);
        breaker.open(OpenedBy::KnownTokens, 2 * SEC);
        assert_eq!(breaker.open_since(), Some(SEC));
        assert!(!breaker.close(3 * SEC, false) && breaker.close(3 * SEC, true));
    }
}
