//! The program says of each token of the library's attack collection what the library says.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../tests/it/jwt.rs"]
mod jwt;
mod overheard;
