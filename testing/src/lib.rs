//! Servers, proxies and certificates that the tests of the library and of the program share.

#![allow(
    clippy::exhaustive_structs,
    clippy::must_use_candidate,
    clippy::new_without_default,
    missing_debug_implementations,
    missing_docs,
    reason = "only tests use this crate"
)]

pub mod clock;
pub mod django;
pub mod glewlwyd;
pub mod host;
pub mod listener;
pub mod oidc_provider;
pub mod pki;
pub mod program;
pub mod proxy;
pub mod random;
pub mod webdriver;
