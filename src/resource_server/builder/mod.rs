//! The builder of a resource server.

mod build;
#[cfg(feature = "cache")]
mod cache_settings;
pub(crate) mod server_builder;
