//! Receives security events (RFC 8417, Shared Signals Framework 1.0).

pub(crate) mod error;
pub(crate) mod expected_states;
pub(crate) mod mapping;
pub(crate) mod push;
pub(crate) mod receiver;
pub(crate) mod resolve;
pub(crate) mod set;
pub(crate) mod subject;
pub(crate) mod subject_id;
pub(crate) mod transmitter;
pub(crate) mod types;
