//! Leases of streams: the watch over the tokens of responses that stay open.
//!
//! The public face is [`stream`](crate::stream).

pub(crate) mod body;
mod boundary;
mod driver;
pub(crate) mod end;
mod ending;
pub(crate) mod guarded;
mod held;
mod holder;
mod key;
#[expect(clippy::module_inception, reason = "a lease is one of several types about leases")]
pub(crate) mod lease;
pub(crate) mod leases;
mod registry;
mod schedule;
pub(crate) mod settings;
mod shares;
mod slots;
mod state;
mod waiters;
mod watch;
