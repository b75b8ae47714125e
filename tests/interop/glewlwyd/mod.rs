//! Against Glewlwyd, whose JWTs can also be introspected and revoked.

mod introspection;
mod keys;
mod server;
mod setup;
mod tokens;
