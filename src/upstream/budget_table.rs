//! The budgets of peers and of their networks, bounded in number.
//!
//! Each budget is the time at which it is full again (the theoretical arrival time of GCRA), in
//! nanoseconds since the start.

use std::{collections::HashMap, time::Duration};

use crate::verify::peer::PeerKey;

/// The budgets of a /56, of a /48, and of all peers without a place in the table, as multiples of
/// the budget of one peer.
const TIMES_56: u32 = 4;
const TIMES_48: u32 = 16;
pub(super) const TIMES_OVERFLOW: u32 = 64;

/// The time for which a peer with a good token keeps its place in the table.
const GOOD_FOR: u64 = nanos(Duration::from_secs(600));

/// The least time between two searches for places that can be given away. A search walks over the
/// whole table.
const SEARCH_PAUSE: u64 = nanos(Duration::from_millis(100));

/// The budget of one peer. Networks have a multiple of it.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) refill: Duration,
}

impl Rate {
    /// Returns the time in which one charge against `times` this budget is made good again.
    fn refill(self, times: u32) -> u64 {
        nanos(self.refill) / u64::from(times.max(1))
    }

    /// Returns the time until `times` this budget allows one charge more.
    fn wait(self, times: u32, full: u64, now: u64) -> u64 {
        let burst = u64::from(self.burst).saturating_mul(u64::from(times));
        let before = self.refill(times).saturating_mul(burst.saturating_sub(1));
        full.saturating_sub(now).saturating_sub(before)
    }
}

/// Holds the budgets that are not full, and those of peers whose token was good lately.
///
/// A budget that is missing is full. A budget that is not full keeps its place, so a peer can't get
/// a new one by having the old one forgotten. If there is no place left, the peers without one share
/// one budget.
pub(super) struct Table {
    rate: Rate,
    places: usize,
    entries: HashMap<u64, Entry>,
    /// The number of entries that are kept because of a good token.
    good: usize,
    /// The budget that all peers without a place share.
    overflow: u64,
    next_id: u32,
    searched_at: Option<u64>,
}

struct Entry {
    /// The time at which the budget is full again.
    full: u64,
    /// The time until which the entry is kept because of a good token.
    good_until: u64,
    /// Distinguishes the entry from an earlier one of the same key.
    id: u32,
}

/// The charges that one request made, one for each budget.
pub(super) struct Taken([Option<Share>; 4]);

/// A charge against one budget.
struct Share {
    /// The key and the id of the entry, or `None` for the budget of the peers without a place.
    entry: Option<(u64, u32)>,
    times: u32,
    /// The time at which the budget was full after the charge.
    full_after: u64,
}

impl Table {
    pub(super) fn new(rate: Rate, places: usize) -> Self {
        Self {
            rate,
            places,
            entries: HashMap::new(),
            good: 0,
            overflow: 0,
            next_id: 0,
            searched_at: None,
        }
    }

    /// Charges the peer and the networks it belongs to, or none of them.
    ///
    /// # Errors
    ///
    /// The time until all of them allow the charge.
    pub(super) fn charge(&mut self, peer: PeerKey, now: u64) -> Result<Taken, u64> {
        let has_places = self.has_places_for(peer, now);
        let is_good = self.entries.get(&peer.own()).is_some_and(|entry| entry.good_until > now);
        let shares_overflow = !has_places && !is_good;
        let known = levels(peer).into_iter().flatten();
        let known = known.filter_map(|(key, times)| Some((self.entries.get(&key)?.full, times)));
        let overflow = shares_overflow.then_some((self.overflow, TIMES_OVERFLOW));
        let waits = known.chain(overflow).map(|(full, times)| self.rate.wait(times, full, now));
        match waits.max() {
            Some(wait) if wait > 0 => return Err(wait),
            _ => {}
        }
        let rate = self.rate;
        let own = levels(peer).map(|level| {
            let (key, times) = level?;
            let entry = match has_places {
                true => self.entry(key),
                false => self.entries.get_mut(&key)?,
            };
            let id = entry.id;
            let full_after = later(&mut entry.full, now, rate.refill(times));
            Some(Share { entry: Some((key, id)), times, full_after })
        });
        let overflow = shares_overflow.then(|| {
            let full_after = later(&mut self.overflow, now, rate.refill(TIMES_OVERFLOW));
            Share { entry: None, times: TIMES_OVERFLOW, full_after }
        });
        let [peer, of_56, of_48] = own;
        Ok(Taken([peer, of_56, of_48, overflow]))
    }

    /// Gives back what is left of a charge. What has been made good since is not given back: it
    /// would be the charge of others.
    pub(super) fn give_back(&mut self, taken: &Taken, now: u64) {
        for share in taken.0.iter().flatten() {
            let left = share.full_after.saturating_sub(now).min(self.rate.refill(share.times));
            let Some((key, id)) = share.entry else {
                self.overflow = self.overflow.saturating_sub(left);
                continue;
            };
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.id == id) else {
                continue;
            };
            entry.full = entry.full.saturating_sub(left);
            if !entry.is_needed(now) {
                self.entries.remove(&key);
            }
        }
    }

    /// Keeps the place of a peer whose token was good. At most half of the places are kept so.
    pub(super) fn keep(&mut self, peer: PeerKey, now: u64) {
        let is_good = |table: &Self| {
            table.entries.get(&peer.own()).is_some_and(|entry| entry.good_until > now)
        };
        if !is_good(self) {
            if self.good >= self.places.div_ceil(2) {
                self.search(now);
            }
            if self.good >= self.places.div_ceil(2) {
                return;
            }
            self.good += 1;
        }
        self.entry(peer.own()).good_until = now.saturating_add(GOOD_FOR);
    }

    /// Returns true if the peer and its networks have places, or can have some.
    fn has_places_for(&mut self, peer: PeerKey, now: u64) -> bool {
        let has_places = |table: &Self| {
            let missing = levels(peer).into_iter().flatten();
            let missing = missing.filter(|(key, _)| !table.entries.contains_key(key)).count();
            let taken = table.entries.len().saturating_sub(table.good);
            missing == 0 || taken + missing <= table.places.div_ceil(2)
        };
        if !has_places(self) {
            self.search(now);
        }
        has_places(self)
    }

    /// Removes the entries that are not needed.
    fn search(&mut self, now: u64) {
        if self.searched_at.is_some_and(|at| now < at.saturating_add(SEARCH_PAUSE)) {
            return;
        }
        self.searched_at = Some(now);
        self.entries.retain(|_, entry| entry.is_needed(now));
        self.good = self.entries.values().filter(|entry| entry.good_until > now).count();
    }

    fn entry(&mut self, key: u64) -> &mut Entry {
        self.entries.entry(key).or_insert_with(|| {
            self.next_id = self.next_id.wrapping_add(1);
            Entry { full: 0, good_until: 0, id: self.next_id }
        })
    }
}

impl Entry {
    /// Returns true if this entry differs from a new one.
    const fn is_needed(&self, now: u64) -> bool {
        self.full > now || self.good_until > now
    }
}

/// Returns the keys of the budgets of a peer, and how many times the budget of one peer each is.
fn levels(peer: PeerKey) -> [Option<(u64, u32)>; 3] {
    let networks = peer.networks();
    [
        Some((peer.own(), 1)),
        networks.map(|[of_56, _]| (of_56, TIMES_56)),
        networks.map(|[_, of_48]| (of_48, TIMES_48)),
    ]
}

/// Adds a charge to a budget, and returns the time at which it is full after that.
fn later(full: &mut u64, now: u64, refill: u64) -> u64 {
    *full = (*full).max(now).saturating_add(refill);
    *full
}

/// Returns a duration in nanoseconds, of which 64 bits hold some centuries.
pub(super) const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: u64 = 1_000_000_000;

    fn table(burst: u32, places: usize) -> Table {
        Table::new(Rate { burst, refill: Duration::from_secs(1) }, places)
    }

    fn alice() -> PeerKey {
        PeerKey::new("alice")
    }

    /// Returns how many charges the peer may make at this time.
    fn left(table: &mut Table, now: u64) -> usize {
        (0..100).take_while(|_| table.charge(alice(), now).is_ok()).count()
    }

    #[test]
    fn refund_at_once_gives_the_whole_charge_back() {
        let mut table = table(3, 10);
        for _ in 0..10 {
            let taken = table.charge(alice(), 0).ok().unwrap();
            table.give_back(&taken, 0);
        }
        assert_eq!(left(&mut table, 0), 3);
    }

    #[test]
    fn refund_of_a_charge_that_was_made_good_gives_nothing() {
        let mut table = table(3, 10);
        let taken = table.charge(alice(), 0).ok().unwrap();
        // It has been made good by now. The three that follow are others.
        assert_eq!(left(&mut table, SEC), 3);
        table.give_back(&taken, SEC);
        assert_eq!(left(&mut table, SEC), 0);
    }

    #[test]
    fn refund_gives_only_the_rest_of_a_charge_back() {
        let mut table = table(2, 10);
        let taken = table.charge(alice(), 0).ok().unwrap();
        assert!(table.charge(alice(), SEC / 2).is_ok());
        table.give_back(&taken, SEC / 2);
        // Without the first charge: one charge at 0.5 s, so one is left, and the next comes at 1.5 s.
        assert_eq!(left(&mut table, SEC / 2), 1);
        assert_eq!(table.charge(alice(), SEC / 2).err(), Some(SEC));
    }

    #[test]
    fn no_refund_leaves_more_than_if_the_charge_had_not_been_made() {
        // All orders of up to six charges, half-second steps and refunds.
        for seed in 0..5_u32.pow(6) {
            let (mut table, mut without) = (table(2, 10), table(2, 10));
            let (mut now, mut open) = (0, Vec::new());
            for step in 0..6 {
                match seed / 5_u32.pow(step) % 5 {
                    0 => now += SEC / 2,
                    1 if table.charge(alice(), now).is_ok() => {
                        assert!(without.charge(alice(), now).is_ok());
                    }
                    2 => open.extend(table.charge(alice(), now).ok()),
                    3 => open.pop().into_iter().for_each(|taken| table.give_back(&taken, now)),
                    4 if !open.is_empty() => table.give_back(&open.remove(0), now),
                    _ => {}
                }
            }
            assert!(left(&mut table, now) <= left(&mut without, now), "{seed}");
        }
    }

    #[test]
    fn refund_of_a_forgotten_peer_gives_its_new_entry_nothing() {
        let mut table = table(2, 2);
        let (first, second) = (table.charge(alice(), 0), table.charge(alice(), 0));
        let [first, second] = [first, second].map(|taken| taken.ok().unwrap());
        table.give_back(&first, 0);
        // Full again, so its place is given to another peer.
        assert!(table.charge(PeerKey::new("bob"), SEC).is_ok());
        assert!(!table.entries.contains_key(&alice().own()));
        table.entries.clear();
        assert_eq!(left(&mut table, SEC), 2);
        table.give_back(&second, SEC);
        assert_eq!(left(&mut table, SEC), 0);
    }

    #[test]
    fn every_place_is_bounded_whatever_peers_do() {
        let mut table = table(1, 100);
        for n in 0..100_000_u64 {
            let peer = PeerKey::new(n);
            if let Ok(taken) = table.charge(peer, n * 1_000_000)
                && n % 3 == 0
            {
                table.give_back(&taken, n * 1_000_000);
                table.keep(peer, n * 1_000_000);
            }
            assert!(table.entries.len() <= 101, "{}", table.entries.len());
        }
    }
}
