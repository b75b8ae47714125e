//! A recorder of the facade `metrics` with instruments of OpenTelemetry.
//!
//! It keeps one instrument for each name, and one handle for each set of labels. The crate looks
//! handles up each time, and sets counters that are counted elsewhere to their total (`absolute`),
//! whereas OpenTelemetry can only add.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
    SharedString, Unit,
};
use opentelemetry::{KeyValue, metrics as otel};

/// A recorder with the instruments of a meter.
pub struct Recorder {
    meter: otel::Meter,
    buckets: &'static [(&'static str, &'static [f64])],
    described: Mutex<HashMap<KeyName, (Option<Unit>, SharedString)>>,
    counters: Handles<otel::Counter<u64>, Sum>,
    gauges: Handles<otel::Gauge<f64>, Level>,
    histograms: Handles<otel::Histogram<f64>, Spread>,
}

impl Recorder {
    /// Creates a recorder for `meter`, with these buckets for the histograms of these names.
    pub fn new(meter: otel::Meter, buckets: &'static [(&'static str, &'static [f64])]) -> Self {
        let (counters, gauges, histograms) = <_>::default();
        Self { meter, buckets, described: <_>::default(), counters, gauges, histograms }
    }

    fn describe(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        lock(&self.described).insert(name, (unit, help));
    }

    /// Returns the unit, as OpenTelemetry writes it, and the description.
    fn description(&self, name: &str) -> (&'static str, String) {
        let described = lock(&self.described);
        let Some((unit, help)) = described.get(name) else { return <_>::default() };
        let unit = match unit {
            None | Some(Unit::Count) => "",
            Some(Unit::Bytes) => "By",
            Some(other) => other.as_canonical_label(),
        };
        (unit, help.to_string())
    }
}

/// Creates the builder of an instrument, with unit and description.
macro_rules! instrument {
    ($recorder:ident, $kind:ident, $name:expr) => {{
        let (unit, help) = $recorder.description($name);
        $recorder.meter.$kind($name.to_owned()).with_unit(unit).with_description(help)
    }};
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(name, unit, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let make = |name: &str| instrument!(self, u64_counter, name).build();
        let sum = |counter, labels| Sum { counter, labels, total: AtomicU64::new(0) };
        Counter::from_arc(self.counters.get(key, make, sum))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let make = |name: &str| instrument!(self, f64_gauge, name).build();
        let level = |gauge, labels| Level { gauge, labels, value: Mutex::new(0.0) };
        Gauge::from_arc(self.gauges.get(key, make, level))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let make = |name: &str| {
            let builder = instrument!(self, f64_histogram, name);
            match self.buckets.iter().find(|(of, _)| *of == name) {
                Some((_, buckets)) => builder.with_boundaries(buckets.to_vec()).build(),
                None => builder.build(),
            }
        };
        let spread = |histogram, labels| Spread { histogram, labels };
        Histogram::from_arc(self.histograms.get(key, make, spread))
    }
}

/// Instruments by name, and handles by name and labels. Their number is bounded, as labels are.
struct Handles<I, H> {
    by_name: Mutex<HashMap<String, I>>,
    by_key: RwLock<HashMap<Key, Arc<H>>>,
}

impl<I, H> Default for Handles<I, H> {
    fn default() -> Self {
        Self { by_name: <_>::default(), by_key: <_>::default() }
    }
}

impl<I: Clone, H> Handles<I, H> {
    fn get(
        &self,
        key: &Key,
        make: impl FnOnce(&str) -> I,
        handle: impl FnOnce(I, Vec<KeyValue>) -> H,
    ) -> Arc<H> {
        let known = self.by_key.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(key) {
            return Arc::clone(known);
        }
        drop(known);
        let name = key.name();
        let instrument =
            lock(&self.by_name).entry(name.to_owned()).or_insert_with(|| make(name)).clone();
        let labels = key
            .labels()
            .map(|label| KeyValue::new(label.key().to_owned(), label.value().to_owned()))
            .collect();
        // If another thread was faster, its handle is used, which has the total.
        let mut known = self.by_key.write().unwrap_or_else(PoisonError::into_inner);
        let handle =
            known.entry(key.clone()).or_insert_with(|| Arc::new(handle(instrument, labels)));
        Arc::clone(handle)
    }
}

struct Sum {
    counter: otel::Counter<u64>,
    labels: Vec<KeyValue>,
    total: AtomicU64,
}

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.total.fetch_add(value, Ordering::Relaxed);
        self.counter.add(value, &self.labels);
    }

    /// Adds the difference to the last total. Adds 0 too, so that a counter at 0 is exported.
    fn absolute(&self, value: u64) {
        let before = self.total.fetch_max(value, Ordering::Relaxed);
        self.counter.add(value.saturating_sub(before), &self.labels);
    }
}

struct Level {
    gauge: otel::Gauge<f64>,
    labels: Vec<KeyValue>,
    value: Mutex<f64>,
}

impl Level {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut value = lock(&self.value);
        *value = change(*value);
        self.gauge.record(*value, &self.labels);
    }
}

impl GaugeFn for Level {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }

    fn set(&self, to: f64) {
        self.change(|_| to);
    }
}

struct Spread {
    histogram: otel::Histogram<f64>,
    labels: Vec<KeyValue>,
}

impl HistogramFn for Spread {
    fn record(&self, value: f64) {
        self.histogram.record(value, &self.labels);
    }
}

/// Locks a mutex. A poisoned one is used all the same, since its content is always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use metrics::{Label, Recorder as _};
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Registry, TextEncoder};

    use super::*;

    const METADATA: Metadata<'static> = Metadata::new("test", metrics::Level::INFO, None);
    const BUCKETS: &[(&str, &[f64])] = &[("ages", &[1.0, 60.0])];

    /// Returns the exposition of the SDK after `record` has run.
    fn exposed(record: impl FnOnce(&Recorder)) -> String {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false);
        let provider = SdkMeterProvider::builder().with_reader(exporter.build().unwrap()).build();
        record(&Recorder::new(provider.meter("test"), BUCKETS));
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    fn key(name: &'static str, label: &'static str) -> Key {
        Key::from_parts(name, vec![Label::new("by", label)])
    }

    #[track_caller]
    fn assert_has(exposed: &str, lines: &[&str]) {
        for line in lines {
            assert!(exposed.lines().any(|it| it == *line), "{line} in {exposed}");
        }
    }

    #[test]
    fn counters_that_others_count_are_set_and_not_added_up() {
        let exposed = exposed(|recorder| {
            for value in [5, 5, 7, 6] {
                recorder.register_counter(&key("hits", "a"), &METADATA).absolute(value);
            }
            recorder.register_counter(&key("hits", "b"), &METADATA).absolute(0);
            for _ in 0..3 {
                recorder.register_counter(&key("hits", "c"), &METADATA).increment(2);
            }
        });
        assert_has(&exposed, &["hits{by=\"a\"} 7", "hits{by=\"b\"} 0", "hits{by=\"c\"} 6"]);
    }

    #[test]
    fn gauges_are_set_and_changed() {
        let exposed = exposed(|recorder| {
            recorder.register_gauge(&key("entries", "a"), &METADATA).set(5.0);
            recorder.register_gauge(&key("entries", "a"), &METADATA).increment(2.5);
            recorder.register_gauge(&key("entries", "a"), &METADATA).decrement(1.0);
        });
        assert_has(&exposed, &["entries{by=\"a\"} 6.5"]);
    }

    #[test]
    fn histograms_have_their_buckets_and_all_have_help() {
        let exposed = exposed(|recorder| {
            recorder.describe_histogram("ages".into(), Some(Unit::Count), "How old".into());
            for age in [0.5, 30.0, 90.0] {
                recorder.register_histogram(&key("ages", "a"), &METADATA).record(age);
            }
        });
        let buckets = ["1\"} 1", "60\"} 2", "+Inf\"} 3"];
        let lines = buckets.map(|it| format!("ages_bucket{{by=\"a\",le=\"{it}"));
        assert_has(&exposed, &lines.each_ref().map(String::as_str));
        assert_has(&exposed, &["# HELP ages How old"]);
        assert_eq!(exposed.matches("ages_bucket").count(), 3, "{exposed}");
    }
}
