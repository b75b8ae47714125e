//! Glewlwyd, whose JWTs can also be introspected and revoked.

mod server;
mod setup;

pub use self::{server::Glewlwyd, setup::ODD_SECRET};
