//! The peer that sends a request.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// The identity of a sender of requests, for budgets.
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
pub struct PeerKey(u64);

impl PeerKey {
    /// Creates a key from a name. Only a hash of the name is kept.
    #[must_use]
    pub fn new(name: impl Hash) -> Self {
        // Randomly keyed, so that a client can't choose names with the same hash.
        static NAMES: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(NAMES.hash_one(name))
    }

    /// Creates a key from an address: a whole /64 of IPv6, or one address of IPv4.
    ///
    /// # Security
    ///
    /// Take the address from the connection, or from a proxy that you run. An `X-Forwarded-For`
    /// header that a client may have written is not an address.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::new(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            address => address,
        })
    }
}

/// A flag shared by the verifications of one token in turn: true if one of them made a charge that
/// stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedCharge(Arc<AtomicBool>);

impl SharedCharge {
    pub(crate) fn is_made(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set_made(&self, made: bool) {
        self.0.store(made, Ordering::Relaxed);
    }
}
