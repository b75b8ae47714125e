//! The open leases of one token.

use std::sync::{Arc, Weak};

use super::state::{LeaseState, NO_SLOT};

/// The leases of a token. Each keeps its place, as one that is being dropped can't learn of another.
#[derive(Default)]
pub(super) struct Slots {
    leases: Vec<Option<Weak<LeaseState>>>,
    free: Vec<u32>,
}

impl Slots {
    pub(super) fn add(&mut self, lease: Weak<LeaseState>) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.leases.push(None);
            u32::try_from(self.leases.len() - 1).unwrap_or(NO_SLOT)
        });
        if let Some(place) = self.leases.get_mut(slot as usize) {
            *place = Some(lease);
        }
        slot
    }

    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(place) = self.leases.get_mut(slot as usize) {
            *place = None;
            self.free.push(slot);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leases.len() == self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Arc<LeaseState>> {
        self.leases.iter().flatten().filter_map(Weak::upgrade)
    }
}
