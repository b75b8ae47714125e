//! The peer that sends a request.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use crate::credentials::head::RequestHead;

/// A function that returns the peer that sent a request.
pub(crate) type PeerFn = dyn Fn(RequestHead<'_>) -> Option<PeerKey> + Send + Sync;

/// The identity of a sender of requests, by which budgets and permits are shared out.
///
/// Make it from an address, a client certificate, an API key, or anything else that the sender
/// can't change at will.
///
/// ```
/// use tower_introspect::verify::PeerKey;
///
/// assert_eq!(PeerKey::new("tenant-7"), PeerKey::new("tenant-7"));
/// // A host with one address of a /64 usually has all of them.
/// let address = |text: &str| PeerKey::address(text.parse().unwrap());
/// assert_eq!(address("2001:db8::1"), address("2001:db8::ffff"));
/// assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
/// assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    own: u64,
    /// The keys of the /56 and the /48 around an IPv6 address. Both are zero for all other peers.
    networks: [u64; 2],
}

impl PeerKey {
    /// Creates a key from a name. Only a hash of the name is kept.
    #[must_use]
    pub fn new(name: impl Hash) -> Self {
        Self { own: hash(name), networks: [0; 2] }
    }

    /// Creates a key from an address: a whole /64 of IPv6, or one address of IPv4.
    ///
    /// The key of an IPv6 address also names the /56 and the /48 that it belongs to. A site often
    /// has that many networks, so a [`MissBudget`](crate::upstream::MissBudget) limits them too.
    ///
    /// # Security
    ///
    /// Take the address from the connection, or from a proxy that you run. An `X-Forwarded-For`
    /// header that a client may have written is not an address.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::new(address),
            IpAddr::V6(address) => {
                // The length keeps a network apart from its first subnetwork.
                let network = |bits: u32| hash((bits, network_of(address, bits)));
                Self { own: network(64), networks: [network(56), network(48)] }
            }
        }
    }

    /// Returns the key of the peer alone.
    pub(crate) const fn own(self) -> u64 {
        self.own
    }

    /// Returns the keys of the /56 and the /48 of an IPv6 address.
    pub(crate) fn networks(self) -> Option<[u64; 2]> {
        (self.networks != [0; 2]).then_some(self.networks)
    }
}

/// Returns a hash that is keyed at random, so that a client can't choose names with the same hash.
fn hash(name: impl Hash) -> u64 {
    static NAMES: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    NAMES.hash_one(name)
}

/// Returns the first `bits` of an address.
fn network_of(address: Ipv6Addr, bits: u32) -> u128 {
    address.to_bits() >> (128 - bits)
}

/// A charge that can be undone, whichever budget made it.
pub(crate) trait Refund: Send {
    /// Undoes the charge.
    fn give_back(self: Box<Self>);
}

/// The charge shared by the verifications of one token in turn, if one of them made a charge that
/// stands.
#[derive(Clone, Default)]
pub(crate) struct SharedCharge(Arc<Mutex<Option<Box<dyn Refund>>>>);

impl SharedCharge {
    pub(crate) fn is_made(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn set(&self, charge: Box<dyn Refund>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(charge);
    }

    /// Undoes the charge, if there is one.
    pub(crate) fn give_back(&self) {
        // The lock is released before the budget takes its own.
        let charge = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(charge) = charge {
            charge.give_back();
        }
    }
}

impl fmt::Debug for SharedCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCharge").field("is_made", &self.is_made()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> PeerKey {
        PeerKey::address(text.parse().unwrap())
    }

    #[test]
    fn address_of_ipv6_names_its_64_its_56_and_its_48() {
        let one = address("2001:db8:1:203::1");
        assert_eq!(one, address("2001:db8:1:203:ffff::"));
        let [of_56, of_48] = one.networks().unwrap();
        let neighbour = address("2001:db8:1:2ff::1");
        assert_ne!(neighbour.own(), one.own());
        assert_eq!(neighbour.networks(), Some([of_56, of_48]));
        let [other_56, same_48] = address("2001:db8:1:300::1").networks().unwrap();
        assert_ne!(other_56, of_56);
        assert_eq!(same_48, of_48);
        let [_, other_48] = address("2001:db8:2:203::1").networks().unwrap();
        assert_ne!(other_48, of_48);
        // A network is not its first subnetwork.
        let first = address("2001:db8:1::");
        let [of_56, of_48] = first.networks().unwrap();
        assert!(first.own() != of_56 && of_56 != of_48);
    }

    #[test]
    fn names_and_ipv4_addresses_have_no_networks() {
        for peer in [PeerKey::new("alice"), address("192.0.2.1"), address("::ffff:192.0.2.1")] {
            assert_eq!(peer.networks(), None);
        }
    }
}
