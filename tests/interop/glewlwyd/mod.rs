//! Against Glewlwyd, whose JWTs can also be introspected and revoked.

mod introspection;
mod keys;
pub(crate) mod server;
mod setup;
mod tokens;
