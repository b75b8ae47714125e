//! A transmitter of security events (SSF 1.0, RFC 8936).

mod configuration;
mod control;
mod endpoints;
mod poll;
mod requests;
pub(super) mod streams;
