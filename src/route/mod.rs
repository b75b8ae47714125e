//! Chooses the verifier of a token.

pub(crate) mod by_issuer;
pub(crate) mod confirm;
pub(crate) mod fallback;

pub use self::{
    by_issuer::{IssuerRoute, Route},
    confirm::Confirm,
    fallback::Fallback,
};
