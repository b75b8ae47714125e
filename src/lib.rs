//! Tower middleware that makes a service an OAuth 2.0 resource server.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod claims;
pub mod clock;
pub mod credentials;
mod error;
#[cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]
mod jose;
pub mod verify;

pub use self::error::{Blame, BoxError, ErrorKind, TokenKind, VerifyError};
