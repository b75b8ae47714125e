//! Chooses the verifier of a token.

pub(crate) mod by_issuer;
pub(crate) mod confirm;
pub(crate) mod fallback;
pub(crate) mod issuer_route;

pub use self::{by_issuer::Route, confirm::Confirm, fallback::Fallback, issuer_route::IssuerRoute};
