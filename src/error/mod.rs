//! Why a request was refused, and whose fault it is.
//!
//! Every refusal of this crate is one [`VerifyError`]. Its [`kind`](VerifyError::kind) says what
//! happened, its [`blame`](VerifyError::blame) whose fault it is: a client is never told that its
//! token is bad because something else is.
//!
//! ```
//! use tower_introspect::{Blame, ErrorKind, VerifyError};
//!
//! let error = VerifyError::new(ErrorKind::Expired);
//! assert_eq!(error.blame(), Blame::Client);
//! assert_eq!(VerifyError::new(ErrorKind::Unavailable).blame(), Blame::AuthorizationServer);
//! ```

pub(crate) mod config;
pub(crate) mod kind;
pub(crate) mod refusal;

use std::error::Error;

pub use self::{
    config::ConfigError,
    kind::{Blame, ErrorKind, TokenKind},
    refusal::VerifyError,
};

/// A boxed error of any kind.
pub type BoxError = Box<dyn Error + Send + Sync>;
