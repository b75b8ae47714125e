//! The same service with the OpenTelemetry SDK.
//!
//! ```sh
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_SERVICE_NAME=payments \
//!     cargo run --manifest-path examples/telemetry/Cargo.toml --bin otel
//! ```
//!
//! This pushes spans and metrics to a collector, by OTLP over HTTP. The SDK reads the other
//! variables of OpenTelemetry too. Without an endpoint nothing is pushed. Prometheus can scrape
//! `/metrics` either way, and finds the same names as in the other program.

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

/// The interval at which the counters of the parts are read. Pushing more often is of no use.
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
    // This comes first: it describes the metrics, and an instrument keeps the description it is
    // made with.
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
    // Pushes the rest. A collector that is down is no failure of the service.
    for left in [tracer.map(|it| it.shutdown()), Some(meter.shutdown())].into_iter().flatten() {
        left.unwrap_or_else(|error| eprintln!("{error}"));
    }
    served
}

/// Creates a tracer provider. A thread of the SDK pushes its spans in batches.
fn tracer() -> Result<SdkTracerProvider, Box<dyn Error>> {
    let exporter = SpanExporter::builder().with_http().build()?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).build())
}

/// Logs to standard error as `RUST_LOG` says, and exports the spans of the service and of the
/// crate, with their events, to OpenTelemetry.
///
/// No other spans are exported: those of the pushing client itself would cause pushes without end.
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

/// Creates a meter provider. It adds no suffixes, since the names have their units and `_total`
/// already.
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
