//! Measures `tower-introspect` beside other crates that do (part of) its job, in one process.
//!
//! The README beside this tells who they are and what is fair about it.

mod authority;
mod backend;
mod contenders;
mod drive;
mod load;
mod measure;
mod outage;
mod raw;
mod report;
mod speed;

use self::{authority::Authority, report::Report};

fn main() {
    backend::install();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system has threads for a runtime");
    let mut report = Report::default();
    let authority = runtime.block_on(Authority::start());
    speed::hit(&runtime, &authority, &mut report);
    speed::cold(&runtime, &authority, &mut report);
    speed::refusals(&runtime, &authority, &mut report);
    drop(authority);
    load::load(&runtime, &mut report);
    outage::outages(&runtime, &mut report);
    report.print();
    // The refreshing tasks of peers never end by themselves.
    runtime.shutdown_background();
}
