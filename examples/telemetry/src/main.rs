//! A resource server that can be looked into: metrics for Prometheus, readiness for a load balancer,
//! spans and events for a log, a hook for an audit trail.
//!
//! ```sh
//! cargo run --manifest-path examples/telemetry/Cargo.toml
//! ```
//!
//! serves on a port of this machine, with an authorization server in the same process, and sends itself
//! requests of all kinds until it is stopped. `TELEMETRY_LISTEN` sets the address, `RUST_LOG` what is
//! logged. Prometheus scrapes `/metrics`; `docs/operations/dashboard.json` shows what it finds.

use std::{error::Error, time::Duration};

use axum::{Router, body::Body, extract::State, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower_introspect::{
    ClientAuth, Issuer, RequireScope, ResourceServer, VerifiedToken,
    policy::{Observer, Requirement},
    respond::Refusal,
    test_util::{AuthorizationServer, Client},
};
use tracing_subscriber::EnvFilter;

mod traffic;

const AUDIENCE: &str = "https://api.example.com";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Before or after the layers are made: that does not matter.
    let exporter = exporter()?;

    let (server, _listening) = AuthorizationServer::on_loopback().await?;
    server.register(Client::new("api", "s3cret"));
    let trial = Observer::new("payments need a second factor");
    let api = ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::hybrid(server.issuer(), ClientAuth::basic("api", "s3cret")))
        .danger_allow_http_loopback() // the authorization server of this example has no TLS
        .policy(|policy| policy.observe(Requirement::any_acr(["mfa"]), &trial))
        .on_refusal(audit)
        .build()?;

    let app = Router::new()
        .route("/payments", get(payments).route_layer(RequireScope::all(["read:payments"])))
        .layer(api.layer());
    // What is for operators is on a port of its own in a real service, which clients can't reach.
    let operators = Router::new()
        .route("/metrics", get(metrics).with_state((api.clone(), exporter)))
        .route_service("/ready", api.readiness_service::<Body>());

    let address = std::env::var("TELEMETRY_LISTEN").unwrap_or_else(|_| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let traffic = tokio::spawn(traffic::run(address, server, AUDIENCE));
    let stopped = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, app.merge(operators)).with_graceful_shutdown(stopped).await?;
    traffic.abort();
    Ok(())
}

async fn payments(token: VerifiedToken) -> String {
    format!("the payments of {}", token.subject().unwrap_or("nobody"))
}

/// What is scraped. Half of it is read off the resource server for the purpose.
async fn metrics(State((api, exporter)): State<(ResourceServer, PrometheusHandle)>) -> String {
    api.record_metrics();
    exporter.run_upkeep();
    exporter.render()
}

/// Buckets for what is measured: how old facts may get, and how long the server may take.
fn exporter() -> Result<PrometheusHandle, Box<dyn Error>> {
    let ages = [1.0, 5.0, 15.0, 30.0, 60.0, 150.0, 300.0];
    let times = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0];
    let age = Matcher::Full("tower_introspect_decision_age_seconds".to_owned());
    let time = Matcher::Full("tower_introspect_upstream_seconds".to_owned());
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(age, &ages)?
        .set_buckets_for_metric(time, &times)?
        .upkeep_timeout(Duration::from_secs(5));
    Ok(builder.install_recorder()?)
}

/// An audit trail has every refusal, where a log has ten a second. This one is standard output.
fn audit(refusal: &Refusal<'_>) {
    let (head, reason) = (refusal.head(), refusal.error().kind().reason());
    println!("refused {} {}: {reason}", head.method(), head.uri().path());
}
