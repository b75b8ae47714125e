//! The same service with the OpenTelemetry SDK.
//!
//! ```sh
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_SERVICE_NAME=payments \
//!     cargo run --manifest-path examples/telemetry/Cargo.toml --bin otel
//! ```
//!
//! pushes spans and metrics to a collector, by OTLP over HTTP; the SDK reads the other variables of
//! OpenTelemetry too. Without an endpoint nothing is pushed. Prometheus can scrape `/metrics` either way,
//! and finds the names that it finds at the other program.

use std::{error::Error, time::Duration};

use opentelemetry::{metrics::MeterProvider as _, trace::TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::{metrics::SdkMeterProvider, trace::SdkTracerProvider};
use prometheus::{Registry, TextEncoder};
use service::{BUCKETS, Service, recorder::Recorder};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// How often what the parts count is read off them. To push more often is of no use.
const RECORDED_EVERY: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pushed = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|at| !at.is_empty());
    let tracer = pushed.then(tracer).transpose()?;
    log(tracer.as_ref());
    let registry = Registry::new();
    let meter = meter(&registry, pushed)?;
    metrics::set_global_recorder(Recorder::new(meter.meter("tower_introspect"), &BUCKETS))?;

    let service = Service::new().await?;
    // First of all: this describes the metrics, and an instrument keeps the description it is made with.
    service.api().record_metrics();
    let api = service.api().clone();
    let recording = tokio::spawn(async move {
        let mut clock = tokio::time::interval(RECORDED_EVERY);
        loop {
            clock.tick().await;
            api.record_metrics();
        }
    });
    let served = service
        .run(move || TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default())
        .await;
    recording.abort();
    // What was not pushed yet. A collector that is away is no failure of the service.
    for left in [tracer.map(|it| it.shutdown()), Some(meter.shutdown())].into_iter().flatten() {
        left.unwrap_or_else(|error| eprintln!("{error}"));
    }
    served
}

/// Spans are pushed in batches, from a thread of the SDK.
fn tracer() -> Result<SdkTracerProvider, Box<dyn Error>> {
    let exporter = SpanExporter::builder().with_http().build()?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).build())
}

/// Standard error as `RUST_LOG` says, and the spans of the service and of the crate to OpenTelemetry, with
/// the events in them. Only these: were the client that pushes to make spans, they would be pushed for ever.
fn log(tracer: Option<&SdkTracerProvider>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let exported = Targets::new()
        .with_target("telemetry", LevelFilter::INFO)
        .with_target("tower_introspect", LevelFilter::DEBUG);
    let spans = tracer.map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("tower_introspect"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(exported)
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
    tracing_subscriber::registry().with(lines).with(spans).init();
}

/// The names have their units and `_total` already.
fn meter(registry: &Registry, pushed: bool) -> Result<SdkMeterProvider, Box<dyn Error>> {
    let scraped = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .without_counter_suffixes()
        .without_units()
        .without_target_info()
        .scope_info_enabled(false)
        .build()?;
    let mut builder = SdkMeterProvider::builder().with_reader(scraped);
    if pushed {
        builder = builder.with_periodic_exporter(MetricExporter::builder().with_http().build()?);
    }
    Ok(builder.build())
}
