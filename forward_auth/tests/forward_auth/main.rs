//! Runs the program as its users do.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod daemon;
mod proxies;
mod readme;
mod recipes;
mod signals;

use std::process::Stdio;

use tokio::process::Command;

const AUDIENCE: &str = "https://api.example.com";

/// The program, without an environment.
fn forward_auth() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forward-auth"));
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}
