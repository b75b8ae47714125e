//! The builder of a resource server.

#[cfg(all(feature = "cache", feature = "_crypto"))]
mod memory;
pub(crate) mod server_builder;
