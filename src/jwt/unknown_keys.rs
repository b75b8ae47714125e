//! The key IDs (`kid`) of tokens that the issuer does not publish.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::clock::Moment;

/// How long a `kid` that a fetch did not find causes no further fetch.
const TTL: Duration = Duration::from_secs(60);

/// The maximum number of such `kid`s that are kept.
const MAX_KIDS: usize = 1024;

/// The latest `kid`s that the issuer does not publish, each kept for a limited time.
#[derive(Default)]
pub(super) struct UnknownKeys {
    /// Randomly keyed, so that an attacker can't choose a `kid` that collides with another one.
    hasher: RandomState,
    hashes: VecDeque<(u64, Moment)>,
}

impl UnknownKeys {
    pub(super) fn add(&mut self, kid: &str, now: Moment) {
        if self.contains(kid, now) {
            return;
        }
        if self.hashes.len() >= MAX_KIDS {
            self.hashes.pop_front();
        }
        self.hashes.push_back((self.hasher.hash_one(kid), now));
    }

    /// Returns the number of `kid`s, after dropping those that are too old.
    pub(super) fn count(&mut self, now: Moment) -> usize {
        let old = |(_, at): &(u64, Moment)| now.since(*at) >= TTL;
        while self.hashes.front().is_some_and(old) {
            self.hashes.pop_front();
        }
        self.hashes.len()
    }

    pub(super) fn contains(&mut self, kid: &str, now: Moment) -> bool {
        self.count(now);
        let hash = self.hasher.hash_one(kid);
        self.hashes.iter().any(|(other, _)| *other == hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::FixedClock;

    #[tokio::test(start_paused = true)]
    async fn unknown_keys_are_forgotten_by_time_and_number() {
        let now = || Moment::now(&FixedClock(0));
        let mut unknown = UnknownKeys::default();
        for kid in 0..MAX_KIDS {
            unknown.add(&kid.to_string(), now());
        }
        assert!(unknown.contains("0", now()) && !unknown.contains("x", now()));
        unknown.add("x", now());
        assert!(!unknown.contains("0", now()) && unknown.contains("1", now()));
        assert_eq!(unknown.hashes.len(), MAX_KIDS);
        tokio::time::advance(TTL).await;
        assert!(!unknown.contains("x", now()));
        assert!(unknown.hashes.is_empty());
    }
}
