//! The builder of a resource server.

mod build;
#[cfg(feature = "cache")]
mod cache_settings;
mod responder;
pub(crate) mod server_builder;
