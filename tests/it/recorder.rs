//! A metrics recorder in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

#[derive(Clone, Default)]
pub(crate) struct MemoryRecorder(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By name and labels, as `name{label="value",..}`.
    values: BTreeMap<String, f64>,
    keys: BTreeSet<Key>,
    described: BTreeMap<String, (&'static str, Option<Unit>)>,
}

impl MemoryRecorder {
    /// The latest value of a counter or gauge. For a histogram the latest value; `name_count{..}`
    /// is their number.
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.0.lock().unwrap().values.get(series).copied()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.0.lock().unwrap().keys.iter().cloned().collect()
    }

    /// All names, labels and descriptions as text.
    pub(crate) fn text(&self) -> String {
        let state = self.0.lock().unwrap();
        state.values.iter().map(|(series, value)| format!("{series} {value}\n")).collect()
    }

    pub(crate) fn described(&self) -> BTreeMap<String, (&'static str, Option<Unit>)> {
        self.0.lock().unwrap().described.clone()
    }

    fn describe(&self, key: &KeyName, kind: &'static str, unit: Option<Unit>) {
        self.0.lock().unwrap().described.insert(key.as_str().to_owned(), (kind, unit));
    }

    fn series(&self, key: &Key) -> Arc<Series> {
        self.0.lock().unwrap().keys.insert(key.clone());
        let labels = key.labels().map(|label| format!("{}=\"{}\"", label.key(), label.value()));
        let labels = labels.collect::<Vec<_>>().join(",");
        Arc::new(Series { seen: self.clone(), name: key.name().to_owned(), labels })
    }
}

struct Series {
    seen: MemoryRecorder,
    name: String,
    labels: String,
}

impl Series {
    fn change(&self, suffix: &str, change: impl FnOnce(&mut f64)) {
        let Self { seen, name, labels } = self;
        let mut state = seen.0.lock().unwrap();
        change(state.values.entry(format!("{name}{suffix}{{{labels}}}")).or_default());
    }
}

#[expect(clippy::cast_precision_loss, reason = "these are small")]
impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.change("", |all| *all += value as f64);
    }

    fn absolute(&self, value: u64) {
        self.change("", |all| *all = all.max(value as f64));
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.change("", |now| *now += value);
    }

    fn decrement(&self, value: f64) {
        self.change("", |now| *now -= value);
    }

    fn set(&self, value: f64) {
        self.change("", |now| *now = value);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.change("", |last| *last = value);
        self.change("_count", |count| *count += 1.0);
    }
}

impl Recorder for MemoryRecorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, "counter", unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, "gauge", unit);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, "histogram", unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}
