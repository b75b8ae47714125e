//! Replay protection: a proof is accepted once (RFC 9449 §11.1).

#[cfg(feature = "dpop")]
pub(crate) mod memory;
pub(crate) mod pending_mark;
pub(crate) mod store;
