//! DPoP proofs, valid and invalid, and a client that sends valid ones (RFC 9449).

pub(crate) mod client;
pub(crate) mod proof;
pub(crate) mod prover;
