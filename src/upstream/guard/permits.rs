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
