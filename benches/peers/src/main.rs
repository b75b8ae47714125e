//! Measures `tower-introspect` beside other crates that do (part of) its job, in one process.
//!
//! The README beside this tells who they are and what is fair about it.

#![cfg_attr(feature = "count", allow(dead_code, reason = "for the other executable"))]

mod authority;
mod backend;
mod checks;
mod contenders;
mod counted;
mod drive;
mod load;
mod measure;
mod outage;
mod raw;
mod report;
mod speed;
mod versions;

use tokio::runtime::Runtime;

use self::{authority::Authority, report::Report};

/// One part of the measurement.
type Part = fn(&Runtime, &Authority, &mut Report);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part);
    backend::install();
    println!("{}", versions::versions());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system has threads for a runtime");
    let mut report = Report::default();
    let authority = runtime.block_on(Authority::start());
    let parts: [(&str, Part); 8] = [
        ("checks", checks::checks),
        ("hit", speed::hit),
        ("allocations", counted::allocations),
        ("crowd", speed::crowd),
        ("cold", speed::cold),
        ("refusals", speed::refusals),
        ("load", load::load),
        ("outages", outage::outages),
    ];
    for (name, part) in parts {
        if wants(name) {
            part(&runtime, &authority, &mut report);
        }
    }
    report.print();
    // The tasks by which peers refresh their keys never end by themselves.
    runtime.shutdown_background();
}
