//! Records metrics through the facade of the crate `metrics`.
//!
//! Requests, refusals and calls are counted as they happen. Numbers that other parts of the crate
//! count already are not counted again: `ResourceServer::record_metrics` reads them, so that two
//! sets of counters can't diverge.
//!
//! Every label is bounded: a name from a table of this crate, or from the configuration.

use std::{sync::Arc, time::Duration};

use metrics::{Key, Label, Level, Metadata, SharedString, Unit, with_recorder};

use super::endpoint_kind::EndpointKind;
use crate::error::kind::ErrorKind;

/// The description of a metric.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: Unit,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Defines each metric as a constant and as an element of `ALL`.
macro_rules! table {
    ($($id:ident: $kind:ident $name:literal in $unit:ident by [$($label:literal),*], $help:literal;)+) => {
        $(pub(crate) const $id: Metric = Metric {
            name: concat!("tower_introspect_", $name),
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: &[$($label),*],
            help: $help,
        };)+

        /// All metrics.
        pub(crate) const ALL: &[Metric] = &[$($id),+];
    };
}

table! {
    REQUESTS: Counter "requests_total" in Count by ["outcome"],
        "Requests by outcome";
    REFUSALS: Counter "refusals_total" in Count by ["blame", "reason"],
        "Refusals by layers, requirements, extractors, handlers and interceptors";
    WOULD_REFUSE: Counter "would_have_refused_total" in Count by ["observer", "reason"],
        "Requests that an observed requirement would have refused";
    FACTS_AGE: Histogram "facts_age_seconds" in Seconds by ["method"],
        "Age of the facts by which a request was admitted";
    UPSTREAM_CALLS: Counter "upstream_calls_total" in Count by ["issuer", "endpoint", "result"],
        "Calls of authorization servers by result";
    UPSTREAM_LATENCY: Histogram "upstream_seconds" in Seconds by ["issuer", "endpoint"],
        "Duration of calls of authorization servers";
    CACHE_REQUESTS: Counter "cache_requests_total" in Count by ["resource", "issuer", "tier", "result"],
        "Cache lookups by result";
    CACHE_REFRESHES: Counter "cache_refreshes_total" in Count by ["resource", "issuer"],
        "Background renewals of cache entries";
    CACHE_CUTOFFS: Counter "cache_dropped_by_cutoff_total" in Count by ["resource", "issuer"],
        "Cache entries dropped because of a cutoff";
    CACHE_ENTRIES: Gauge "cache_entries" in Count by ["resource", "issuer"],
        "Number of cache entries, refusals included";
    CACHE_BYTES: Gauge "cache_bytes" in Bytes by ["resource", "issuer"],
        "Size of the cache entries";
    COALESCED: Counter "coalesced_total" in Count by ["resource", "issuer"],
        "Verifications that shared the introspection request of another one";
    NOT_ASKED: Counter "not_asked_total" in Count by ["resource", "issuer", "cause"],
        "Introspections refused before a request was sent";
    BREAKER: Gauge "breaker_state" in Count by ["resource", "issuer"],
        "State of the circuit breaker: 0 closed, 1 half open, 2 open";
    READY: Gauge "ready" in Count by ["resource", "issuer"],
        "1 if the keys or the endpoint of the issuer are known, else 0";
    KEYS_AGE: Gauge "keys_age_seconds" in Seconds by ["resource", "issuer"],
        "Age of the keys of an issuer";
    UNKNOWN_KEYS: Gauge "unknown_keys" in Count by ["resource", "issuer"],
        "Key names that fetches of the last minute did not find";
    STREAMS: Gauge "streams_open" in Count by ["resource"],
        "Streams that are open under a lease";
    STREAM_ENDS: Counter "stream_ends_total" in Count by ["reason"],
        "Streams that ended before their handler was done, by reason";
    STREAM_FACTS_AGE: Histogram "stream_facts_age_seconds" in Seconds by ["method"],
        "Age of the facts about the token of a stream when it was verified again";
    SIGNALS: Counter "signals_total" in Count by ["receiver", "outcome"],
        "Logouts, security events and revocations by hand, by outcome";
    SIGNALS_PENDING: Gauge "signals_pending" in Count by ["resource"],
        "Signals that wait for the keys of their issuer";
    SIGNALS_STALE: Gauge "signals_stale" in Count by ["resource", "issuer"],
        "1 if signals about the tokens of the issuer may not arrive, else 0";
    CUTOFFS: Gauge "cutoffs" in Count by ["resource"],
        "Cutoffs in force";
    FEED_BEHIND: Gauge "cutoff_feed_behind" in Count by ["resource"],
        "1 if cutoffs of other instances may be missing, else 0";
    FEED_DOUBTS: Counter "cutoff_feed_doubts_total" in Count by ["reason"],
        "Times that all facts were verified again because cutoffs may have been missed";
    FEED_FOREIGN: Counter "cutoff_feed_foreign_total" in Count by [],
        "Cutoffs and messages in the shared tier that are not from this service";
}

static METADATA: Metadata<'static> =
    Metadata::new("tower_introspect", Level::INFO, Some("tower_introspect"));

/// Returns a static key, so that counting a request allocates nothing.
macro_rules! key {
    ($metric:ident, $($label:literal = $value:expr),+) => {{
        static LABELS: &[Label] = &[$(Label::from_static_parts($label, $value)),+];
        static KEY: Key = Key::from_static_parts($metric.name, LABELS);
        &KEY
    }};
}

/// Counts a request that was let in and records the age of the verification.
///
/// Looks up the recorder each time instead of keeping handles: an application may install a
/// recorder after its layers are built, and a handle from before that would never count.
pub(super) fn request_admitted(method: &'static str, age: Duration) {
    with_recorder(|recorder| {
        recorder.register_counter(key!(REQUESTS, "outcome" = "admitted"), &METADATA).increment(1);
        let age_of = recorder.register_histogram(by_method(method), &METADATA);
        age_of.record(age.as_secs_f64());
    });
}

pub(super) fn request_anonymous() {
    with_recorder(|recorder| {
        recorder.register_counter(key!(REQUESTS, "outcome" = "anonymous"), &METADATA).increment(1)
    });
}

pub(super) fn request_refused() {
    with_recorder(|recorder| {
        recorder.register_counter(key!(REQUESTS, "outcome" = "refused"), &METADATA).increment(1)
    });
}

pub(super) fn refused(kind: ErrorKind) {
    let (blame, reason) = (kind.blame().as_str(), kind.reason());
    match by_reason(reason) {
        Some(key) => {
            debug_assert!(key.labels().any(|label| label.value() == blame));
            with_recorder(|recorder| recorder.register_counter(key, &METADATA).increment(1));
        }
        None => {
            let labels = [
                Label::from_static_parts("blame", blame),
                Label::from_static_parts("reason", reason),
            ];
            add(&REFUSALS, labels, 1);
        }
    }
}

pub(super) fn would_have_refused(observer: &str, kind: ErrorKind) {
    let labels = [
        Label::new("observer", observer.to_owned()),
        Label::from_static_parts("reason", kind.reason()),
    ];
    add(&WOULD_REFUSE, labels, 1);
}

pub(super) fn stream_ended(reason: &'static str) {
    add(&STREAM_ENDS, [Label::from_static_parts("reason", reason)], 1);
}

pub(super) fn stream_token_verified(method: &'static str, age: Duration) {
    let labels = vec![Label::from_static_parts("method", method)];
    let key = Key::from_parts(STREAM_FACTS_AGE.name, labels);
    with_recorder(|recorder| {
        recorder.register_histogram(&key, &METADATA).record(age.as_secs_f64());
    });
}

pub(super) fn feed_doubt(reason: &'static str) {
    add(&FEED_DOUBTS, [Label::from_static_parts("reason", reason)], 1);
}

pub(super) fn feed_foreign(count: u64) {
    add(&FEED_FOREIGN, [], count);
}

#[cfg(feature = "signals")]
pub(super) fn signal(receiver: &'static str, outcome: &'static str) {
    let receiver = Label::from_static_parts("receiver", receiver);
    add(&SIGNALS, [receiver, Label::from_static_parts("outcome", outcome)], 1);
}

pub(super) fn upstream_call_ended(
    issuer: &Arc<str>,
    endpoint: EndpointKind,
    ended: Option<(Duration, Option<ErrorKind>)>,
) {
    let issuer = Label::new("issuer", SharedString::from_shared(Arc::clone(issuer)));
    let endpoint = Label::from_static_parts("endpoint", endpoint.as_str());
    let result = match ended {
        None => "abandoned",
        Some((_, None)) => "ok",
        Some((_, Some(kind))) => kind.reason(),
    };
    if let Some((took, _)) = ended {
        let key = Key::from_parts(UPSTREAM_LATENCY.name, vec![issuer.clone(), endpoint.clone()]);
        with_recorder(|recorder| {
            recorder.register_histogram(&key, &METADATA).record(took.as_secs_f64());
        });
    }
    add(&UPSTREAM_CALLS, [issuer, endpoint, Label::from_static_parts("result", result)], 1);
}

fn add<const N: usize>(metric: &Metric, labels: [Label; N], count: u64) {
    debug_assert!(labels.iter().map(Label::key).eq(metric.labels.iter().copied()));
    let key = Key::from_parts(metric.name, Vec::from(labels));
    with_recorder(|recorder| recorder.register_counter(&key, &METADATA).increment(count));
}

fn by_method(method: &'static str) -> &'static Key {
    match method {
        "confirmed" => key!(FACTS_AGE, "method" = "confirmed"),
        "fallback" => key!(FACTS_AGE, "method" = "fallback"),
        "introspection" => key!(FACTS_AGE, "method" = "introspection"),
        "jwt" => key!(FACTS_AGE, "method" = "jwt"),
        _ => key!(FACTS_AGE, "method" = "custom"),
    }
}

/// Returns the static key of a reason. A reason without one is counted too, but with an allocation.
fn by_reason(reason: &'static str) -> Option<&'static Key> {
    macro_rules! keys {
        ($($blame:literal: $($reason:literal)+;)+) => {
            match reason {
                $($($reason => Some(key!(REFUSALS, "blame" = $blame, "reason" = $reason)),)+)+
                _ => None,
            }
        };
    }
    keys! {
        "authorization_server":
            "bad_response" "fails_on_token" "key_pending" "unavailable" "untried_keys"
            "unusable_key";
        "resource_server":
            "clock_wrong" "credentials_rejected" "misconfigured" "replay_unavailable"
            "too_many_streams";
        "client":
            "missing_credentials" "unsupported_scheme" "malformed_credentials" "repeated_credentials"
            "token_too_long" "malformed_token" "unsupported_token" "unsupported_algorithm"
            "unsupported_extension" "unknown_key" "bad_signature" "unknown_issuer" "wrong_issuer"
            "wrong_audience" "wrong_token_kind" "missing_claim" "invalid_claim" "expired"
            "not_yet_valid" "inactive" "revoked" "not_introspectable" "unproven_possession"
            "insufficient_scope" "insufficient_authentication" "denied" "too_many_requests";
    }
}

/// The refusals that operators should be alerted to. Their counters are registered from the start, as
/// that of lost signals is, because a monitor does not see a counter rise that begins at 1.
const ALERTING: [ErrorKind; 5] = [
    ErrorKind::BadResponse,
    ErrorKind::ClockWrong,
    ErrorKind::CredentialsRejected,
    ErrorKind::Misconfigured,
    ErrorKind::Unavailable,
];

/// Describes all metrics to the recorder.
pub(crate) fn describe() {
    with_recorder(|recorder| {
        for metric in ALL {
            let (name, unit) = (metric.name.into(), Some(metric.unit));
            let help = SharedString::const_str(metric.help);
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, unit, help),
                Kind::Gauge => recorder.describe_gauge(name, unit, help),
                Kind::Histogram => recorder.describe_histogram(name, unit, help),
            }
        }
        for key in [
            key!(SIGNALS, "receiver" = "logout", "outcome" = "lost"),
            key!(SIGNALS, "receiver" = "event", "outcome" = "lost"),
        ] {
            recorder.register_counter(key, &METADATA).increment(0);
        }
        for key in ALERTING.into_iter().filter_map(|kind| by_reason(kind.reason())) {
            recorder.register_counter(key, &METADATA).increment(0);
        }
    });
}

/// An exporter of numbers that other parts of the crate count.
pub(crate) struct Export {
    labels: Vec<Label>,
}

impl Export {
    /// Creates an exporter for a resource server.
    pub(crate) fn for_resource(resource: &Arc<str>) -> Self {
        let resource = SharedString::from_shared(Arc::clone(resource));
        Self { labels: vec![Label::new("resource", resource)] }
    }

    /// Returns an exporter for one issuer of the resource server.
    pub(crate) fn for_issuer(&self, issuer: &Arc<str>) -> Self {
        let mut labels = self.labels.clone();
        labels.push(Label::new("issuer", SharedString::from_shared(Arc::clone(issuer))));
        Self { labels }
    }

    /// Sets a counter to `all`, the total until now.
    pub(crate) fn set_counter(
        &self,
        metric: &Metric,
        more: &[(&'static str, &'static str)],
        all: u64,
    ) {
        let key = self.key(metric, more);
        with_recorder(|recorder| recorder.register_counter(&key, &METADATA).absolute(all));
    }

    pub(crate) fn set_gauge(&self, metric: &Metric, value: f64) {
        let key = self.key(metric, &[]);
        with_recorder(|recorder| recorder.register_gauge(&key, &METADATA).set(value));
    }

    fn key(&self, metric: &Metric, more: &[(&'static str, &'static str)]) -> Key {
        let mut labels = self.labels.clone();
        labels.extend(more.iter().map(|(name, value)| Label::from_static_parts(name, value)));
        debug_assert!(labels.iter().map(Label::key).eq(metric.labels.iter().copied()));
        Key::from_parts(metric.name, labels)
    }
}
