//! Receives back-channel logouts (OpenID Connect Back-Channel Logout 1.0).

pub(crate) mod service;
mod settings;
mod token;
