//! The builder of a resource server.

#[cfg(feature = "cache")]
mod memory;
pub(crate) mod server_builder;
