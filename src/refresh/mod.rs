//! Fetches a value, keeps it, and renews it. Reads a value again from files that have changed.
//!
//! One fetch runs at a time, and cooldowns limit how often. The last value stays in use while the
//! other side is down. Requests that need a newer value wait for a fetch, and the fetches from one
//! server take turns.

pub(crate) mod asker;
pub(crate) mod flight;
#[cfg(any(feature = "introspection", feature = "jwt"))]
pub(crate) mod from_files;
#[cfg(feature = "jwt")]
pub(crate) mod on_demand;
mod places;
pub(crate) mod refresher;
pub(crate) mod renewal;
mod slot;
pub(crate) mod source;
pub(crate) mod turns;
pub(crate) mod turns_by_origin;
