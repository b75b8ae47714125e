//! Receives security events (RFC 8417, Shared Signals Framework 1.0).

mod error;
pub(in crate::signals) mod expected_states;
mod mapping;
pub(crate) mod push;
pub(crate) mod receiver;
mod resolve;
mod set;
mod subject;
pub(crate) mod subject_id;
pub(crate) mod transmitter;
pub(crate) mod types;
