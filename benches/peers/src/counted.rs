//! Counts the allocations of each, in an executable of its own: the allocator that counts takes time.

use std::process::Command;

use tokio::runtime::Runtime;

use crate::{authority::Authority, report::Report};

/// Builds and runs it.
pub fn allocations(_: &Runtime, _: &Authority, report: &mut Report) {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--release", "--quiet", "--manifest-path", manifest]);
    let output = cargo.args(["--features", "count", "--bin", "allocations"]).output();
    let output = output.expect("cargo is where it was");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let (figures, table): (Vec<_>, Vec<_>) =
        said.lines().partition(|line| line.starts_with("figure "));
    println!("{}", table.join("\n").trim_end());
    figures.into_iter().for_each(|line| report.line(line));
}
