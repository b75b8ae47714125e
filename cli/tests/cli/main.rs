//! Runs the program `introspect`, and compares its output with the files in `screens/`.
//!
//! `UPDATE_SCREENS=1 cargo test -p tower-introspect-cli --all-features --test cli` rewrites these
//! files.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod bad_input;
mod decode;
mod doctor;
mod doctor_truth;
mod explain;
mod forged;
mod front;
mod introspect;
mod keys;
mod mint;
mod pages;
mod readme;
mod run;
mod signals;
mod situations;
mod verify;
