//! Fetches a value, keeps it, and renews it.
//!
//! One fetch runs at a time, and cooldowns limit how often. The last value stays in use while the
//! other side is down.

pub(crate) mod flight;
pub(crate) mod refresher;
mod slot;
pub(crate) mod source;
