//! Runs `introspect ui` and sends requests to it, as programs and other pages do, and as people do with
//! Chromium.
//!
//! The tests with Chromium need the Debian packages `chromium` and `chromium-driver`. Without them they
//! are skipped with a message; with `CI=true` in the environment they fail. They write screenshots to
//! `target/tmp`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod guards;
mod page;
mod program;
mod results;
#[allow(dead_code, reason = "the other tests of the program use the rest")]
#[path = "../cli/run.rs"]
mod run;
