//! Tests with Glewlwyd, whose JWTs can also be introspected and revoked.

mod introspection;
mod keys;
mod tokens;
