//! Identifiers: random ones, and positions in the log.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

use crate::secret::NoRandomness;

/// A random identifier, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) u128);

/// A source of random identifiers, from one seed. A change is never lost because there is none.
pub(crate) struct IdSource {
    seed: [u8; 32],
    count: u64,
}

impl IdSource {
    /// Creates a source.
    ///
    /// # Errors
    ///
    /// Returns an error if the operating system has no random bytes.
    pub(crate) fn new() -> Result<Self, NoRandomness> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| NoRandomness)?;
        Ok(Self { seed, count: 0 })
    }

    pub(crate) fn next(&mut self) -> Id {
        self.count = self.count.wrapping_add(1);
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.count.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.finalize()[..16]);
        Id(u128::from_be_bytes(bytes))
    }
}

impl Id {
    /// Reads the name of a field of the map.
    pub(super) fn of_field(field: &[u8]) -> Option<Self> {
        std::str::from_utf8(field).ok()?.parse().ok()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Id {
    type Err = ();

    /// Reads the one form in which an identifier is written, so that no two texts are the same one.
    fn from_str(text: &str) -> Result<Self, ()> {
        let id = u128::from_str_radix(text, 16).map(Self).map_err(|_| ())?;
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| D::Error::custom("no identifier"))
    }
}

/// A position in the log: the identifier of an entry of a Redis stream.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct Position(pub(crate) u64, pub(crate) u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (millis, number) = text.split_once('-').ok_or(())?;
        Ok(Self(millis.parse().map_err(|_| ())?, number.parse().map_err(|_| ())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_sources_differ() {
        let (mut one, mut other) = (IdSource::new().unwrap(), IdSource::new().unwrap());
        let mut all: Vec<_> = (0..1000).flat_map(|_| [one.next(), other.next()]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000);
    }

    #[test]
    fn identifiers_have_one_form() {
        let id = Id(0xab);
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "ab", "+00000000000000000000000000000ab", "000000000000000000000000000000AB"]
        {
            assert_eq!(bad.parse::<Id>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn positions_are_ordered_as_in_the_stream() {
        let positions =
            ["0-0", "9-10", "10-2", "10-11"].map(|text| text.parse::<Position>().unwrap());
        assert!(positions.is_sorted());
        assert_eq!(positions[3].to_string(), "10-11");
        for bad in ["", "1", "-", "1-", "a-1", "1-99999999999999999999"] {
            assert_eq!(bad.parse::<Position>(), Err(()), "{bad}");
        }
    }
}
