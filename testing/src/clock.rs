//! A wall clock that stands still.

use tower_introspect::clock::{Clock, UnixTime};

/// The time that [`FixedClock`] shows.
pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A wall clock that stands still at [`NOW`]. No token and no proof expires while a test runs, however
/// long that takes.
#[derive(Clone, Debug)]
pub struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> UnixTime {
        NOW
    }
}
