//! A resource server with telemetry: metrics for Prometheus, readiness for a load balancer, spans
//! and events for a log, a hook for an audit trail.
//!
//! ```sh
//! cargo run --manifest-path examples/telemetry/Cargo.toml
//! ```
//!
//! This serves on a port of this machine, with an authorization server in the same process, and
//! sends itself requests of all kinds until it is stopped. `TELEMETRY_LISTEN` sets the address,
//! `RUST_LOG` filters the log. Prometheus scrapes `/metrics`, and `docs/operations/dashboard.json`
//! is a dashboard for it. `src/bin/otel.rs` is the same service with OpenTelemetry.

use std::{error::Error, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use service::{BUCKETS, Service};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // The recorder may be installed before or after the layers are made.
    let exporter = exporter()?;

    let scrape = move || {
        exporter.run_upkeep();
        exporter.render()
    };
    Service::new().await?.run(scrape).await
}

fn exporter() -> Result<PrometheusHandle, Box<dyn Error>> {
    let mut builder = PrometheusBuilder::new().upkeep_timeout(Duration::from_secs(5));
    for (name, buckets) in BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
    }
    Ok(builder.install_recorder()?)
}
