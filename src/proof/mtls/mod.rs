//! Proof of possession by a client certificate (RFC 8705 §3).

pub(crate) mod certificate;
pub(crate) mod field;
mod network;
pub(crate) mod settings;
