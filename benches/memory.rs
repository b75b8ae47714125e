//! Measures the memory of a million cached tokens of the usual size.
//!
//! `cargo bench --bench memory`, which takes a minute; other than by `cargo bench`, a hundredth of it.
//! For each kind of token: what the memory says that it holds, what was asked of the allocator, and
//! how the process grew. First with room for all, then with room for 700 MiB.

#![expect(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

mod support;

use std::{fs, process::Command};

use allocation_counter::measure;
use tower_introspect::{
    ResourceServer,
    jose::{Algorithm, SigningKey},
    jwt::KeySet,
};

use self::support::{ISSUER, api, jwt, learn, local, opaque, remote, runtime};

const MILLION: u64 = 1_000_000;
const MIB: u64 = 1 << 20;
const PAGE: u64 = 4_096;

/// The size of the process in memory, where the system tells.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}

/// Fills the memory of a resource server with tokens, and tells what that took.
fn fill(case: Case, count: u64) {
    let runtime = runtime();
    let before = resident();
    let mut server = None;
    let counted = measure(|| {
        let (api, token) = case.server(count);
        for n in 0..count {
            learn(&runtime, &api, &token(n)).unwrap();
        }
        server = Some(api);
    });
    let grown = resident().saturating_sub(before);
    let stats = server.as_ref().unwrap().stats();
    let each = |bytes: u64| bytes / stats.entries.max(1);
    let allocated = u64::try_from(counted.bytes_current).unwrap();
    let pieces = u64::try_from(counted.count_current).unwrap();
    print!("{:6} in {:>5} MiB: {:>7} tokens", case.kind, case.bytes / MIB, stats.entries);
    for (what, bytes) in [("counted", stats.bytes), ("allocated", allocated), ("process", grown)] {
        print!(", {what} {:>4} MiB ({:>4} each)", bytes / MIB, each(bytes));
    }
    println!(", {} pieces each", each(pieces));
}

/// A kind of token, and how much there is room for.
#[derive(Clone, Copy)]
struct Case {
    kind: &'static str,
    bytes: u64,
}

impl Case {
    fn server(self, count: u64) -> (ResourceServer, Box<dyn Fn(u64) -> String>) {
        let entries = usize::try_from(count).unwrap();
        let server = |issuer| api(|api| api.issuer(issuer).cache_capacity(entries, self.bytes));
        if self.kind == "opaque" {
            return (server(remote(ISSUER)), Box::new(opaque));
        }
        // Signatures are not remembered, so they may be quick ones.
        let secret = [7; 32];
        let key = SigningKey::from_secret(Algorithm::HS256, &secret).unwrap().with_kid("k");
        let keys = KeySet::from_secret(Algorithm::HS256, &secret).unwrap().with_kid("k");
        (server(local(ISSUER, keys)), Box::new(move |n| jwt(&key, n)))
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let count = if bench { MILLION } else { MILLION / 100 };
    let cases = [64 << 30, 700 * MIB * count / MILLION]
        .into_iter()
        .flat_map(|bytes| ["opaque", "jwt"].map(|kind| Case { kind, bytes }));
    for (at, case) in cases.enumerate() {
        // Each in a process of its own, because memory that one gives back serves the next.
        let at = format!("case={at}");
        if arguments.contains(&at) {
            return fill(case, count);
        }
        if !arguments.iter().any(|argument| argument.starts_with("case=")) {
            let mut this = Command::new(std::env::current_exe().unwrap());
            let this = this.arg(at).args(bench.then_some("--bench"));
            assert!(this.status().unwrap().success());
        }
    }
}
