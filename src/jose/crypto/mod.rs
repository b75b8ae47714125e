//! The cryptography backends. No other module names a cryptography crate, but for the private keys
//! of `jsonwebtoken`, which signs with both backends.
//!
//! If both backends are enabled, AWS-LC is used. So in a build with AWS-LC, another crate that
//! enables one more feature does not change the backend that checks signatures.

#[cfg(feature = "aws-lc-rs")]
#[path = "aws_lc.rs"]
pub(crate) mod backend;
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc-rs")))]
#[path = "rust_crypto.rs"]
pub(crate) mod backend;
pub(crate) mod random;
#[cfg(feature = "_jose")]
pub(crate) mod sign;
