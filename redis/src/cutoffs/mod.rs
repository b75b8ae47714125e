//! Cutoffs that all instances of a service share.
//!
//! They are a map that only grows, so that instances agree whatever is lost on the way. The map is a
//! hash in Redis. A stream beside it, the log, tells each change at once; both are written in one
//! transaction, so the map is a function of the position in the log.

pub(crate) mod commands;
pub(crate) mod driver;
pub(crate) mod entry;
pub(crate) mod feed;
pub(crate) mod id;
pub(crate) mod map;
mod merging;
pub(crate) mod message;
pub(crate) mod outbox;
pub(crate) mod publishers;
pub(crate) mod replica;
mod telling;
