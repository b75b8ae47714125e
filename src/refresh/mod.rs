//! Fetches a value, keeps it, and renews it.
//!
//! One fetch runs at a time, and cooldowns limit how often. The last value stays in use while the
//! other side is down.

pub(crate) mod asker;
pub(crate) mod flight;
mod places;
pub(crate) mod refresher;
mod slot;
pub(crate) mod source;
pub(crate) mod turns;
pub(crate) mod turns_by_origin;
