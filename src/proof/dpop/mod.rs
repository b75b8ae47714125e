//! Proof of possession by DPoP (RFC 9449).

mod check;
pub(crate) mod nonce;
pub(crate) mod settings;
mod target;
