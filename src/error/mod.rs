//! Error types that say why a request was refused and which party is at fault.
//!
//! Every refusal of this crate is a [`VerifyError`]. Its [`kind`](VerifyError::kind) is the reason,
//! its [`blame`](VerifyError::blame) the party at fault. No response calls a token bad when another
//! party is at fault.
//!
//! ```
//! use tower_introspect::{Blame, ErrorKind, VerifyError};
//!
//! let error = VerifyError::new(ErrorKind::Expired);
//! assert_eq!(error.blame(), Blame::Client);
//! assert_eq!(VerifyError::new(ErrorKind::Unavailable).blame(), Blame::AuthorizationServer);
//! ```

pub(crate) mod boxed;
pub(crate) mod chain;
pub(crate) mod config;
mod consequence;
pub(crate) mod failure;
pub(crate) mod kind;
pub(crate) mod refusal;
