//! The permits of introspections, which bound how many are under way at the same time.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use super::introspection::Introspection;
use crate::verify::peer::PeerKey;

/// The number of results about unknown tokens that are kept.
const LAST_UNKNOWN: usize = 100;

/// The permits of one origin. Half are reserved for known tokens, which may take any free one. The
/// other half is shared out among the peers that send unknown tokens.
#[derive(Debug)]
pub(super) struct Permits {
    limit: usize,
    known: usize,
    unknown: usize,
    /// The permits for unknown tokens that each peer holds.
    held: HashMap<PeerKey, usize>,
    waiting_known: VecDeque<Waiting>,
    waiting_unknown: VecDeque<Waiting>,
    /// For each of the last unknown tokens, true if it was active.
    last_unknown: VecDeque<bool>,
}

#[derive(Debug)]
struct Waiting {
    introspection: Introspection,
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
            last_unknown: VecDeque::new(),
        }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a permit, if there is one for this introspection.
    pub(super) fn take(&mut self, introspection: &Introspection) -> bool {
        let free = self.is_free(introspection);
        if free {
            if introspection.is_known() {
                self.known += 1;
            } else {
                self.unknown += 1;
                if let Some(peer) = introspection.peer {
                    *self.held.entry(peer).or_default() += 1;
                }
            }
        }
        free
    }

    fn is_free(&self, introspection: &Introspection) -> bool {
        if self.known + self.unknown >= self.limit {
            return false;
        }
        if introspection.is_known() {
            return true;
        }
        let half = (self.limit / 2).max(1);
        if self.unknown >= half {
            // Unknown tokens also get the idle permits of known ones, while at least half of the
            // last hundred were active.
            return self.unknown_are_mostly_active();
        }
        // A peer may hold several permits while less than a quarter of all are in use for unknown
        // tokens, and one after that.
        self.unknown < half / 2
            || introspection.peer.is_none_or(|peer| !self.held.contains_key(&peer))
    }

    fn unknown_are_mostly_active(&self) -> bool {
        let active = self.last_unknown.iter().filter(|active| **active).count();
        !self.last_unknown.is_empty() && 2 * active >= self.last_unknown.len()
    }

    pub(super) fn note_unknown(&mut self, active: bool) {
        if self.last_unknown.len() == LAST_UNKNOWN {
            self.last_unknown.pop_front();
        }
        self.last_unknown.push_back(active);
    }

    /// Gives a permit back, and hands it to an introspection that waits: to one about a known token
    /// first.
    pub(super) fn give_back(&mut self, introspection: &Introspection) {
        self.release(introspection);
        while let Some(waiting) = self.next() {
            self.take(&waiting.introspection);
            if waiting.permit.send(()).is_ok() {
                return;
            }
            // It does not wait any more.
            self.release(&waiting.introspection);
        }
    }

    fn release(&mut self, introspection: &Introspection) {
        if introspection.is_known() {
            self.known -= 1;
            return;
        }
        self.unknown -= 1;
        if let Some(peer) = introspection.peer
            && let Some(held) = self.held.get_mut(&peer)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&peer);
            }
        }
    }

    /// Removes the next waiting introspection that may take a permit now.
    fn next(&mut self) -> Option<Waiting> {
        for known in [true, false] {
            let queue = if known { &self.waiting_known } else { &self.waiting_unknown };
            let first = queue.iter().position(|one| self.is_free(&one.introspection));
            if let Some(at) = first {
                return self.queue(known).remove(at);
            }
        }
        None
    }

    fn queue(&mut self, known: bool) -> &mut VecDeque<Waiting> {
        if known { &mut self.waiting_known } else { &mut self.waiting_unknown }
    }

    /// Lets an introspection wait for a permit, unless too many wait already. Half of the places for
    /// unknown tokens are for peers that have none yet.
    ///
    /// Introspections without a peer count as one peer here, so that they can't fill the queue.
    pub(super) fn wait(&mut self, introspection: &Introspection) -> Option<oneshot::Receiver<()>> {
        let (places, introspection) = (self.limit, *introspection);
        let queue = self.queue(introspection.is_known());
        let has_place = queue.iter().any(|one| one.introspection.peer == introspection.peer);
        let is_half_full = !introspection.is_known() && queue.len() >= places / 2;
        if queue.len() >= places || (is_half_full && has_place) {
            return None;
        }
        let (permit, granted) = oneshot::channel();
        queue.push_back(Waiting { introspection, permit });
        Some(granted)
    }

    /// Ends the waiting of an introspection. Returns false if it did not wait any more, because it has a
    /// permit.
    pub(super) fn leave(&mut self, introspection: &Introspection) -> bool {
        let queue = self.queue(introspection.is_known());
        let at = queue.iter().position(|one| one.introspection.number == introspection.number);
        at.and_then(|at| queue.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::guard::recent::Id;

    fn introspection(number: u64, known: bool, peer: Option<u64>) -> Introspection {
        let known = known.then(|| Id::of(number));
        let peer = peer.map(PeerKey::new);
        Introspection { number, registration: 1, token: Id::of(number), known, peer }
    }

    fn take(permits: &mut Permits, numbers: std::ops::Range<u64>, known: bool, peer: u64) -> usize {
        numbers.filter(|number| permits.take(&introspection(*number, known, Some(peer)))).count()
    }

    #[test]
    fn half_of_the_permits_are_for_known_tokens_which_may_take_all() {
        let mut permits = Permits::new(16);
        let anyone = |number| introspection(number, false, None);
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
        permits.give_back(&introspection(0, false, Some(1)));
        assert!(permits.held.values().sum::<usize>() == 7);
        assert_eq!(take(&mut permits, 300..400, false, 30), 1);
    }

    #[test]
    fn unknown_tokens_get_idle_permits_while_half_of_the_last_hundred_were_active() {
        let mut permits = Permits::new(16);
        (0..100).for_each(|number| permits.note_unknown(number % 2 == 0));
        assert_eq!(take(&mut permits, 0..100, false, 1), 4);
        assert_eq!((2..30).map(|peer| take(&mut permits, 0..9, false, peer)).sum::<usize>(), 12);
        let mut permits = Permits::new(16);
        (0..100).for_each(|number| permits.note_unknown(number % 3 == 0));
        let taken = (2..30).map(|peer| take(&mut permits, 0..9, false, peer)).sum::<usize>();
        assert_eq!((taken, permits.unknown), (8, 8));
    }

    #[test]
    fn permit_goes_to_a_known_token_that_waits_before_an_unknown_one() {
        let mut permits = Permits::new(1);
        assert!(permits.take(&introspection(1, false, None)));
        let mut unknown = permits.wait(&introspection(2, false, None)).unwrap();
        let mut known = permits.wait(&introspection(3, true, None)).unwrap();
        permits.give_back(&introspection(1, false, None));
        assert!(known.try_recv().is_ok() && unknown.try_recv().is_err());
        assert!(!permits.leave(&introspection(3, true, None)), "it has a permit");
        permits.give_back(&introspection(3, true, None));
        assert!(unknown.try_recv().is_ok());
    }

    #[test]
    fn places_to_wait_are_bounded_and_half_are_for_peers_without_one() {
        let mut permits = Permits::new(8);
        while permits.take(&introspection(0, true, None)) {}
        let mut granted = Vec::new();
        for number in 1..100 {
            granted.extend(permits.wait(&introspection(number, false, Some(1))));
        }
        assert_eq!(granted.len(), 4);
        for peer in 2..100 {
            granted.extend(permits.wait(&introspection(100 + peer, false, Some(peer))));
        }
        assert_eq!(granted.len(), 8);
        assert!(permits.leave(&introspection(1, false, Some(1))));
        assert!(permits.wait(&introspection(500, false, Some(500))).is_some());
    }

    #[test]
    fn introspection_that_was_dropped_while_it_waited_gets_no_permit() {
        let mut permits = Permits::new(1);
        assert!(permits.take(&introspection(1, true, None)));
        drop(permits.wait(&introspection(2, true, None)));
        let mut third = permits.wait(&introspection(3, true, None));
        assert!(third.is_none(), "there is one place");
        permits.give_back(&introspection(1, true, None));
        assert_eq!(permits.known, 0);
        assert!(permits.take(&introspection(4, true, None)));
        third = permits.wait(&introspection(5, true, None));
        assert!(third.is_some());
    }
}
