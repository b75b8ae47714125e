//! Fetches the metadata of an authorization server (RFC 8414, OpenID Connect Discovery 1.0).

pub(crate) mod discover;
mod metadata;
#[cfg(feature = "introspection")]
pub(crate) mod methods;
