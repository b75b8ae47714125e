//! Used proofs in Redis.

mod exchange;
pub(crate) mod mark_error;
pub(crate) mod report;
mod settings;
pub(crate) mod store;
