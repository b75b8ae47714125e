//! The permits of questions that may be under way at the same time.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use super::question::Question;
use crate::verify::peer::PeerKey;

/// The number of answers about unknown tokens that decide whether more of those are asked about.
const LAST_ANSWERS: usize = 100;

/// The number of waiting questions that are looked at when a permit is free.
const LOOKED_AT: usize = 8;

/// Permits: half for known tokens, half for the others, in shares of peers. Known tokens take any
/// free one.
#[derive(Debug)]
pub(super) struct Permits {
    limit: usize,
    known: usize,
    unknown: usize,
    /// The permits for unknown tokens that each peer holds.
    held: HashMap<PeerKey, usize>,
    waiting_known: VecDeque<Waiting>,
    waiting_unknown: VecDeque<Waiting>,
    /// For each of the last answers about unknown tokens, true if the token was active.
    answers: VecDeque<bool>,
}

#[derive(Debug)]
struct Waiting {
    question: Question,
    permit: oneshot::Sender<()>,
}

impl Permits {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            known: 0,
            unknown: 0,
            held: HashMap::new(),
            waiting_known: VecDeque::new(),
            waiting_unknown: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a permit, if there is one for this question.
    pub(super) fn take(&mut self, question: &Question) -> bool {
        let free = self.is_free(question);
        if free {
            if question.is_known() {
                self.known += 1;
            } else {
                self.unknown += 1;
                if let Some(peer) = question.peer {
                    *self.held.entry(peer).or_default() += 1;
                }
            }
        }
        free
    }

    fn is_free(&self, question: &Question) -> bool {
        if self.known + self.unknown >= self.limit {
            return false;
        }
        if question.is_known() {
            return true;
        }
        let half = (self.limit / 2).max(1);
        if self.unknown >= half {
            // Idle permits for known tokens are lent while most unknown tokens are good.
            return self.are_mostly_good();
        }
        // While half of the half is free anyone may take one, then only who holds none.
        self.unknown < half / 2 || question.peer.is_none_or(|peer| !self.held.contains_key(&peer))
    }

    fn are_mostly_good(&self) -> bool {
        let good = self.answers.iter().filter(|active| **active).count();
        !self.answers.is_empty() && 2 * good >= self.answers.len()
    }

    pub(super) fn note_answer(&mut self, active: bool) {
        if self.answers.len() == LAST_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back(active);
    }

    /// Gives a permit back, and hands it to a question that waits: to one about a known token
    /// first.
    pub(super) fn give_back(&mut self, question: &Question) {
        self.release(question);
        while let Some(waiting) = self.next() {
            self.take(&waiting.question);
            if waiting.permit.send(()).is_ok() {
                return;
            }
            // It does not wait any more.
            self.release(&waiting.question);
        }
    }

    fn release(&mut self, question: &Question) {
        if question.is_known() {
            self.known -= 1;
            return;
        }
        self.unknown -= 1;
        if let Some(peer) = question.peer
            && let Some(held) = self.held.get_mut(&peer)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&peer);
            }
        }
    }

    /// Removes the next waiting question that may take a permit now.
    fn next(&mut self) -> Option<Waiting> {
        for known in [true, false] {
            let line = if known { &self.waiting_known } else { &self.waiting_unknown };
            let first = line.iter().take(LOOKED_AT).position(|one| self.is_free(&one.question));
            if let Some(at) = first {
                return self.line(known).remove(at);
            }
        }
        None
    }

    fn line(&mut self, known: bool) -> &mut VecDeque<Waiting> {
        if known { &mut self.waiting_known } else { &mut self.waiting_unknown }
    }

    /// Lets a question wait for a permit, unless too many wait already. Half of the places for
    /// unknown tokens are for peers that have none yet.
    pub(super) fn wait(&mut self, question: &Question) -> Option<oneshot::Receiver<()>> {
        let (places, question) = (self.limit, *question);
        let line = self.line(question.is_known());
        let has_place = line.iter().any(|one| one.question.peer == question.peer);
        let is_half_full = !question.is_known() && line.len() >= places / 2;
        if line.len() >= places || (is_half_full && has_place) {
            return None;
        }
        let (permit, granted) = oneshot::channel();
        line.push_back(Waiting { question, permit });
        Some(granted)
    }

    /// Ends the waiting of a question. Returns false if it did not wait any more, because it has a
    /// permit.
    pub(super) fn leave(&mut self, question: &Question) -> bool {
        let line = self.line(question.is_known());
        let at = line.iter().position(|one| one.question.number == question.number);
        at.and_then(|at| line.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::guard::recent::Id;

    fn question(number: u64, known: bool, peer: Option<u64>) -> Question {
        let known = known.then(|| Id::of(number));
        let peer = peer.map(PeerKey::new);
        Question { number, tenant: 1, token: Id::of(number), known, peer }
    }

    fn take(permits: &mut Permits, numbers: std::ops::Range<u64>, known: bool, peer: u64) -> usize {
        numbers.filter(|number| permits.take(&question(*number, known, Some(peer)))).count()
    }

    #[test]
    fn half_of_the_permits_are_for_known_tokens_which_may_take_all() {
        let mut permits = Permits::new(16);
        let anyone = |number| question(number, false, None);
        let unknown = (0..100).filter(|number| permits.take(&anyone(*number))).count();
        assert_eq!(unknown, 8);
        assert_eq!(take(&mut permits, 100..200, true, 1), 8);
        let mut permits = Permits::new(16);
        assert_eq!(take(&mut permits, 0..100, true, 1), 16);
    }

    #[test]
    fn one_peer_has_half_of_the_half_and_others_one_each_of_the_rest() {
        let mut permits = Permits::new(16);
        assert_eq!(take(&mut permits, 0..100, false, 1), 4);
        assert_eq!(take(&mut permits, 100..200, false, 2), 1);
        assert_eq!((3..20).map(|peer| take(&mut permits, 200..300, false, peer)).sum::<usize>(), 3);
        // A permit that is given back can be taken again.
        permits.give_back(&question(0, false, Some(1)));
        assert!(permits.held.values().sum::<usize>() == 7);
        assert_eq!(take(&mut permits, 300..400, false, 30), 1);
    }

    #[test]
    fn unknown_tokens_borrow_while_at_least_half_of_the_last_hundred_were_good() {
        let mut permits = Permits::new(16);
        (0..100).for_each(|number| permits.note_answer(number % 2 == 0));
        assert_eq!(take(&mut permits, 0..100, false, 1), 4);
        assert_eq!((2..30).map(|peer| take(&mut permits, 0..9, false, peer)).sum::<usize>(), 12);
        let mut permits = Permits::new(16);
        (0..100).for_each(|number| permits.note_answer(number % 3 == 0));
        let taken = (2..30).map(|peer| take(&mut permits, 0..9, false, peer)).sum::<usize>();
        assert_eq!((taken, permits.unknown), (8, 8));
    }

    #[test]
    fn permit_goes_to_a_known_token_that_waits_before_an_unknown_one() {
        let mut permits = Permits::new(1);
        assert!(permits.take(&question(1, false, None)));
        let mut unknown = permits.wait(&question(2, false, None)).unwrap();
        let mut known = permits.wait(&question(3, true, None)).unwrap();
        permits.give_back(&question(1, false, None));
        assert!(known.try_recv().is_ok() && unknown.try_recv().is_err());
        assert!(!permits.leave(&question(3, true, None)), "it has a permit");
        permits.give_back(&question(3, true, None));
        assert!(unknown.try_recv().is_ok());
    }

    #[test]
    fn places_to_wait_are_bounded_and_half_are_for_peers_without_one() {
        let mut permits = Permits::new(8);
        while permits.take(&question(0, true, None)) {}
        let mut granted = Vec::new();
        for number in 1..100 {
            granted.extend(permits.wait(&question(number, false, Some(1))));
        }
        assert_eq!(granted.len(), 4);
        for peer in 2..100 {
            granted.extend(permits.wait(&question(100 + peer, false, Some(peer))));
        }
        assert_eq!(granted.len(), 8);
        assert!(permits.leave(&question(1, false, Some(1))));
        assert!(permits.wait(&question(500, false, Some(500))).is_some());
    }

    #[test]
    fn question_that_went_away_while_it_waited_gets_no_permit() {
        let mut permits = Permits::new(1);
        assert!(permits.take(&question(1, true, None)));
        drop(permits.wait(&question(2, true, None)));
        let mut third = permits.wait(&question(3, true, None));
        assert!(third.is_none(), "there is one place");
        permits.give_back(&question(1, true, None));
        assert_eq!(permits.known, 0);
        assert!(permits.take(&question(4, true, None)));
        third = permits.wait(&question(5, true, None));
        assert!(third.is_some());
    }
}
