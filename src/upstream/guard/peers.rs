//! Notices that one peer sends nearly all tokens, so that shares of peers have no effect.

use std::{collections::BTreeSet, mem};

use super::recent::Id;
use crate::verify::peer::PeerKey;

/// The number of active tokens that are looked at together.
const SAMPLE: usize = 100;

/// The number of these that one peer must send.
const NEARLY_ALL: usize = 95;

/// The number of different subjects among these. One client with many requests is not meant.
const SUBJECTS: usize = 20;

/// The peers and the subjects of the last active tokens. Bad tokens do not count: otherwise an
/// attacker could pass for a load balancer.
#[derive(Debug, Default)]
pub(super) struct Peers {
    sample: Vec<(PeerKey, Id)>,
    is_one: bool,
    is_news: bool,
}

impl Peers {
    /// Notes an active token.
    pub(super) fn note(&mut self, peer: Option<PeerKey>, subject: Id) {
        let Some(peer) = peer else { return };
        self.sample.push((peer, subject));
        if self.sample.len() < SAMPLE {
            return;
        }
        let sample = mem::take(&mut self.sample);
        let sent_by = |peer: PeerKey| sample.iter().filter(|(one, _)| *one == peer).count();
        let most = sample.iter().map(|(peer, _)| sent_by(*peer)).max().unwrap_or_default();
        let subjects: BTreeSet<_> = sample.iter().map(|(_, subject)| *subject).collect();
        let is_one = most >= NEARLY_ALL && subjects.len() >= SUBJECTS;
        self.is_news |= is_one && !self.is_one;
        self.is_one = is_one;
    }

    /// Returns true if one peer was found to send nearly all tokens since the last call, and not
    /// before.
    pub(super) const fn take_news(&mut self) -> bool {
        mem::replace(&mut self.is_news, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how often one peer is found to send nearly all tokens.
    fn found(count: u64, peer: fn(u64) -> Option<u64>, subject: fn(u64) -> u64) -> usize {
        let mut peers = Peers::default();
        let news = (0..count).filter(|number| {
            peers.note(peer(*number).map(PeerKey::new), Id::of(subject(*number)));
            peers.take_news()
        });
        news.count()
    }

    #[test]
    fn peer_that_sends_the_tokens_of_many_subjects_is_found_once() {
        assert_eq!(found(99, |_| Some(1), |number| number), 0);
        assert_eq!(found(10_000, |_| Some(1), |number| number), 1);
        // Health checks of the load balancer itself, or a client in the same network.
        assert_eq!(found(10_000, |number| Some(u64::from(number % 25 == 0)), |number| number), 1);
    }

    #[test]
    fn clients_of_their_own_and_one_busy_client_are_no_load_balancer() {
        assert_eq!(found(10_000, |number| Some(number % 50), |number| number), 0);
        assert_eq!(found(10_000, |number| Some(number % 10 / 9), |number| number), 0);
        assert_eq!(found(10_000, |_| Some(1), |number| number % 19), 0);
        assert_eq!(found(10_000, |_| None, |number| number), 0);
    }
}
