//! The key IDs (`kid`) that tokens named and no key of the issuer has.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::clock::Moment;

/// How long the first lookup of a `kid` is remembered.
const TTL: Duration = Duration::from_secs(60);

/// The maximum number of such `kid`s that are kept.
const MAX_KIDS: usize = 1024;

/// The latest `kid`s without a key, each with the time of the first lookup of it.
#[derive(Default)]
pub(super) struct UnknownKeys {
    /// Randomly keyed, so that an attacker can't choose a `kid` that collides with another one.
    hasher: RandomState,
    asked: VecDeque<(u64, Moment)>,
}

impl UnknownKeys {
    /// Returns the hash of a `kid`.
    pub(super) fn hash(&self, kid: &str) -> u64 {
        self.hasher.hash_one(kid)
    }

    /// Returns when the `kid` was asked for first, which may be `now`.
    pub(super) fn first_asked(&mut self, kid: u64, now: Moment) -> Moment {
        self.count(now);
        if let Some((_, at)) = self.asked.iter().find(|(other, _)| *other == kid) {
            return *at;
        }
        if self.asked.len() >= MAX_KIDS {
            self.asked.pop_front();
        }
        self.asked.push_back((kid, now));
        now
    }

    /// Forgets a `kid` whose key was found.
    pub(super) fn remove(&mut self, kid: u64) {
        self.asked.retain(|(other, _)| *other != kid);
    }

    /// Returns the number of `kid`s, after dropping those that are too old.
    pub(super) fn count(&mut self, now: Moment) -> usize {
        let old = |(_, at): &(u64, Moment)| now.since(*at) >= TTL;
        while self.asked.front().is_some_and(old) {
            self.asked.pop_front();
        }
        self.asked.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::FixedClock;

    #[tokio::test(start_paused = true)]
    async fn unknown_keys_are_forgotten_by_time_and_number() {
        let now = || Moment::now(&FixedClock(0));
        let start = now();
        let mut unknown = UnknownKeys::default();
        for kid in 0..MAX_KIDS as u64 {
            assert_eq!(unknown.first_asked(kid, now()), start);
        }
        tokio::time::advance(TTL / 2).await;
        assert_eq!(unknown.first_asked(0, now()), start);
        // One more pushes the oldest out.
        assert_eq!(unknown.first_asked(5000, now()), now());
        assert_eq!((unknown.first_asked(1, now()), unknown.count(now())), (start, MAX_KIDS));
        assert_eq!(unknown.first_asked(0, now()), now());
        unknown.remove(2);
        assert_eq!(unknown.count(now()), MAX_KIDS - 1);
        tokio::time::advance(TTL / 2).await;
        assert_eq!(unknown.count(now()), 2);
        tokio::time::advance(TTL / 2).await;
        assert_eq!(unknown.count(now()), 0);
    }
}
