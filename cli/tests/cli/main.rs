//! The program `introspect`: its screens as they are kept in `screens/`, what it does with bad input,
//! and how it ends.
//!
//! `UPDATE_SCREENS=1 cargo test --all-features --test cli` writes the screens anew.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod bad_input;
mod decode;
mod doctor;
mod explain;
mod front;
mod introspect;
mod keys;
mod mint;
mod pages;
mod readme;
mod run;
mod verify;
