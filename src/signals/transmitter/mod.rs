//! Talks to a transmitter of security events (OpenID Shared Signals Framework 1.0, RFC 8936).

pub(crate) mod access;
pub(crate) mod client;
#[cfg(feature = "introspection")]
mod client_credentials;
pub(crate) mod configuration;
pub(crate) mod error;
mod outcomes;
pub(crate) mod poll;
mod poll_response;
pub(in crate::signals) mod poll_state;
mod request;
pub(crate) mod stream;
pub(crate) mod stream_configuration;
pub(crate) mod streams;
pub(crate) mod verification;
mod via;

#[cfg(test)]
mod tests;
