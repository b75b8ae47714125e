//! Shares out the leases among issuers and subjects.

use std::collections::{HashMap, hash_map::Entry};

/// The number of open leases of each issuer and subject.
///
/// A subject may have a quarter as many leases as are free, an issuer eight times as many. So one
/// subject can take a fifth of all, one issuer eight ninths, and there is always room for another.
#[derive(Debug)]
pub(super) struct Shares {
    capacity: usize,
    open: usize,
    of_issuer: HashMap<u64, usize>,
    of_subject: HashMap<u64, usize>,
}

impl Shares {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, open: 0, of_issuer: HashMap::new(), of_subject: HashMap::new() }
    }

    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Takes a lease. Returns false if there is none for this issuer or subject.
    pub(super) fn take(&mut self, issuer: u64, subject: u64) -> bool {
        let free = self.capacity.saturating_sub(self.open);
        let (of_issuer, of_subject) =
            (count(&self.of_issuer, issuer), count(&self.of_subject, subject));
        if free == 0 || of_issuer >= free.saturating_mul(8) || of_subject.saturating_mul(4) >= free
        {
            return false;
        }
        self.open += 1;
        *self.of_issuer.entry(issuer).or_default() += 1;
        *self.of_subject.entry(subject).or_default() += 1;
        true
    }

    /// Gives a lease back.
    pub(super) fn give_back(&mut self, issuer: u64, subject: u64) {
        self.open = self.open.saturating_sub(1);
        decrement(&mut self.of_issuer, issuer);
        decrement(&mut self.of_subject, subject);
    }
}

fn count(counts: &HashMap<u64, usize>, key: u64) -> usize {
    counts.get(&key).copied().unwrap_or_default()
}

fn decrement(counts: &mut HashMap<u64, usize>, key: u64) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(shares: &mut Shares, issuer: u64, subject: u64) -> usize {
        (0..).take_while(|_| shares.take(issuer, subject)).count()
    }

    #[test]
    fn one_subject_takes_a_fifth_and_one_issuer_eight_ninths() {
        let mut shares = Shares::new(900);
        assert_eq!(take_all(&mut shares, 1, 1), 180);
        let mut others = 0;
        for subject in 2..1_000 {
            others += take_all(&mut shares, 1, subject);
        }
        assert_eq!(180 + others, 800);
        // Another issuer, and another subject of it, still find room.
        assert!(shares.take(2, 5_000));
    }

    #[test]
    fn leases_are_given_back() {
        let mut shares = Shares::new(8);
        for _ in 0..100 {
            assert!(shares.take(1, 1));
            shares.give_back(1, 1);
        }
        assert_eq!((shares.open(), shares.of_issuer.len(), shares.of_subject.len()), (0, 0, 0));
        assert!(!Shares::new(0).take(1, 1));
    }
}
