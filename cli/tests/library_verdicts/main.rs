//! Checks that the program gives the library's verdict on every token of the library's JWT tests.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../tests/it/jwt.rs"]
mod jwt;
mod recorded_checks;
