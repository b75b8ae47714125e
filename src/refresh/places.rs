//! The places of the requests that wait for a fetch of one value.

use std::collections::HashMap;

use super::asker::Asker;

/// The number of lookups that may wait.
const MAX_LOOKUPS: usize = 64;

/// The number of requests that may wait. Many may need the same lookup.
const MAX_REQUESTS: usize = 1024;

/// The requests that wait, and who sent them.
#[derive(Default)]
pub(super) struct Places {
    askers: HashMap<Asker, Held>,
    /// The lookups that several requests may share.
    shared: HashMap<u64, Shared>,
    lookups: usize,
    requests: usize,
}

/// The part that one asker holds.
#[derive(Clone, Copy, Default)]
struct Held {
    lookups: usize,
    requests: usize,
}

struct Shared {
    /// The asker that the lookup counts for.
    first: Asker,
    requests: usize,
}

/// One request in its place.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    asker: Asker,
    lookup: Option<u64>,
    limited: bool,
}

impl Places {
    /// Takes a place, or returns `None` if there is none left for this asker.
    ///
    /// Half of the places are for anyone. Beyond that, an asker gets one only if it holds none.
    pub(super) fn take(
        &mut self,
        asker: Asker,
        lookup: Option<u64>,
        limited: bool,
    ) -> Option<Spot> {
        let held = self.askers.get(&asker).copied().unwrap_or_default();
        let joins = lookup.is_some_and(|lookup| self.shared.contains_key(&lookup));
        if limited {
            let room = |all: usize, own: usize, most: usize| {
                // This service asks no more than it needs.
                all < most && (all < most / 2 || own == 0 || asker == Asker::Own)
            };
            let fits = room(self.requests, held.requests, MAX_REQUESTS)
                && (joins || room(self.lookups, held.lookups, MAX_LOOKUPS));
            if !fits {
                return None;
            }
            if !joins {
                self.lookups += 1;
                self.askers.entry(asker).or_default().lookups += 1;
            }
            if let Some(lookup) = lookup {
                let shared = Shared { first: asker, requests: 0 };
                self.shared.entry(lookup).or_insert(shared).requests += 1;
            }
        }
        self.requests += 1;
        self.askers.entry(asker).or_default().requests += 1;
        Some(Spot { asker, lookup, limited })
    }

    /// Frees a place that [`take`](Self::take) returned.
    pub(super) fn free(&mut self, spot: Spot) {
        let Spot { asker, lookup, limited } = spot;
        self.requests = self.requests.saturating_sub(1);
        self.change(asker, |held| held.requests = held.requests.saturating_sub(1));
        if !limited {
            return;
        }
        let holder = match lookup {
            None => asker,
            Some(lookup) => {
                let Some(shared) = self.shared.get_mut(&lookup) else { return };
                shared.requests = shared.requests.saturating_sub(1);
                if shared.requests > 0 {
                    return;
                }
                let first = shared.first;
                self.shared.remove(&lookup);
                first
            }
        };
        self.lookups = self.lookups.saturating_sub(1);
        self.change(holder, |held| held.lookups = held.lookups.saturating_sub(1));
    }

    /// Returns true if no request waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.requests == 0
    }

    /// Returns the askers whose requests wait.
    pub(super) fn askers(&self) -> impl Iterator<Item = Asker> {
        self.askers.iter().filter(|(_, held)| held.requests > 0).map(|(asker, _)| *asker)
    }

    fn change(&mut self, asker: Asker, change: impl FnOnce(&mut Held)) {
        let Some(held) = self.askers.get_mut(&asker) else { return };
        change(held);
        if held.lookups == 0 && held.requests == 0 {
            self.askers.remove(&asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u64) -> Asker {
        Asker::Peer(number)
    }

    #[test]
    fn beyond_half_of_the_places_only_an_asker_without_one_gets_one() {
        let mut places = Places::default();
        let mut spots = Vec::new();
        for lookup in 0..100 {
            spots.extend(places.take(peer(0), Some(lookup), true));
        }
        assert_eq!(spots.len(), MAX_LOOKUPS / 2);
        assert!(places.take(Asker::UnknownPeer, None, true).is_some());
        assert!(places.take(Asker::UnknownPeer, None, true).is_none());
        for other in 1..100 {
            spots.extend(places.take(peer(other), Some(1000 + other), true));
        }
        assert_eq!(spots.len(), MAX_LOOKUPS - 1);
        places.free(spots[40]);
        assert!(places.take(peer(200), None, true).is_some());
        assert!(places.take(peer(201), None, true).is_none());
    }

    #[test]
    fn requests_with_one_lookup_share_its_place() {
        let mut places = Places::default();
        let spots: Vec<_> =
            (0..2000).filter_map(|at| places.take(peer(at % 600), Some(7), true)).collect();
        // 512 for anyone, and one for each of the 88 peers that hold none yet.
        assert_eq!(spots.len(), 600);
        assert_eq!((places.lookups, places.shared.len()), (1, 1));
        let (first, others) = spots.split_first().unwrap();
        places.free(*first);
        assert_eq!(places.lookups, 1);
        others.iter().for_each(|spot| places.free(*spot));
        assert_eq!((places.lookups, places.requests), (0, 0));
        assert!(places.is_empty() && places.askers.is_empty() && places.shared.is_empty());
    }

    #[test]
    fn unlimited_requests_take_no_places() {
        let mut places = Places::default();
        let spots: Vec<_> = (0..5000).filter_map(|_| places.take(peer(0), None, false)).collect();
        assert_eq!(spots.len(), 5000);
        assert_eq!(places.askers().count(), 1);
        spots.into_iter().for_each(|spot| places.free(spot));
        assert!(places.is_empty() && places.askers.is_empty());
    }
}
