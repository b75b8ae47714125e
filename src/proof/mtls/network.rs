//! Networks of trusted proxies.

use std::{fmt, net::IpAddr};

use crate::error::config::ConfigError;

/// A network: the addresses that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    bits: u8,
}

/// Parses networks.
///
/// # Errors
///
/// If a text is no network, or if the list is empty.
pub(super) fn parse_all<'a>(
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Network>, ConfigError> {
    let mut problems = ConfigError::new();
    let mut networks = Vec::new();
    for text in texts {
        match Network::parse(text) {
            Ok(network) => networks.push(network),
            Err(problem) => problems.push("proxies", format!("`{text}` {problem}")),
        }
    }
    if networks.is_empty() && problems.problems().next().is_none() {
        problems.push("proxies", "the list is empty");
    }
    problems.or_ok(networks)
}

impl Network {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const INVALID: &str = "is not an address or network";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => {
                // `u8::from_str` also accepts `+8` and `08`.
                let plain = bits.bytes().all(|byte| byte.is_ascii_digit())
                    && (bits == "0" || !bits.starts_with('0'));
                (address, Some(bits.parse::<u8>().ok().filter(|_| plain).ok_or(INVALID)?))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| INVALID)?;
        let bits = bits.unwrap_or_else(|| width(address));
        if bits > width(address) {
            return Err(INVALID);
        }
        if bits == 0 {
            return Err("covers all addresses");
        }
        // Turns an IPv4-mapped network into the IPv4 network (RFC 4291 §2.5.5.2).
        let network = match address.to_canonical() {
            own if width(own) == width(address) => Self { address, bits },
            own => match bits.checked_sub(96) {
                Some(0) | None => return Err("covers all IPv4 addresses"),
                Some(bits) => Self { address: own, bits },
            },
        };
        if masked(network.address, network.bits) != value(network.address) {
            return Err("has bits beyond its prefix");
        }
        Ok(network)
    }

    /// Returns true if the network contains `address`, including as an IPv4-mapped address from a
    /// dual-stack socket.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.address) && masked(address, self.bits) == value(self.address)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// Returns the first `bits` of an address, followed by zeros.
fn masked(address: IpAddr, bits: u8) -> u128 {
    let rest = u32::from(width(address).saturating_sub(bits));
    value(address).checked_shr(rest).and_then(|kept| kept.checked_shl(rest)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn address_is_only_in_its_own_network() {
        for (network, within, without) in [
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.2.0/24", "10.1.2.255", "10.1.3.0"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("128.0.0.0/1", "255.255.255.255", "127.255.255.255"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
            // As a dual-stack socket reports them.
            ("10.1.2.3", "::ffff:10.1.2.3", "::ffff:10.1.2.4"),
            ("::ffff:10.1.2.0/120", "10.1.2.9", "10.1.3.9"),
            // The same bits in the other address family.
            ("0.0.0.1", "0.0.0.1", "::1"),
            ("::1", "::1", "0.0.0.1"),
        ] {
            assert!(contains(network, within), "{network} {within}");
            assert!(!contains(network, without), "{network} {without}");
        }
    }

    #[test]
    fn invalid_network_is_reported() {
        for (text, problem) in [
            ("", "is not an address or network"),
            ("localhost", "is not an address or network"),
            ("10.1.2.3:80", "is not an address or network"),
            ("10.0.0.0/33", "is not an address or network"),
            ("10.0.0.0/+8", "is not an address or network"),
            ("10.0.0.0/08", "is not an address or network"),
            ("10.0.0.0/", "is not an address or network"),
            ("10.0.0.0/256", "is not an address or network"),
            ("::/129", "is not an address or network"),
            ("0.0.0.0/0", "covers all addresses"),
            ("::/0", "covers all addresses"),
            ("::ffff:0.0.0.0/96", "covers all IPv4 addresses"),
            ("10.1.2.3/8", "has bits beyond its prefix"),
            ("2001:db8::1/32", "has bits beyond its prefix"),
        ] {
            assert_eq!(Network::parse(text).unwrap_err(), problem, "{text}");
        }
        let told = |texts: &[&str]| parse_all(texts.iter().copied()).unwrap_err().to_string();
        assert_eq!(told(&[]), "proxies: the list is empty");
        assert_eq!(
            told(&["::1", "a", "::/0"]),
            "proxies: `a` is not an address or network\nproxies: `::/0` covers all addresses"
        );
    }
}
