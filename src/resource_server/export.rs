//! Exports counters and gauges of a resource server through the crate `metrics`.

use std::sync::Arc;

use super::server::ResourceServer;
use crate::{
    clock::Moment,
    revocation::feed::FeedState,
    telemetry::{
        metrics as names, metrics::Export, report::RESOLVED_ISSUERS, signal_state::SignalState,
    },
    verify::stats::{BreakerState, Stats},
};

impl<R> ResourceServer<R> {
    /// Passes [`stats`](Self::stats) and [`readiness`](Self::readiness) to the recorder of the
    /// crate `metrics`, and describes all metrics there.
    ///
    /// Call it before each scrape, or periodically if metrics are pushed. Metrics of single
    /// requests are recorded as they happen, without this call. The chapter on
    /// [operations](crate::docs::operations) lists the names.
    ///
    /// ```
    /// use tower_introspect::ResourceServer;
    ///
    /// // The handler of `/metrics`. `render` could be that of a `PrometheusHandle`.
    /// fn scrape(api: &ResourceServer, render: impl Fn() -> String) -> String {
    ///     api.record_metrics();
    ///     render()
    /// }
    /// # let _ = |api| scrape(api, String::new);
    /// ```
    ///
    /// The metrics have the audience and the issuer as labels. If a process has several resource
    /// servers, give each an audience of its own. Otherwise their numbers can't be told apart.
    pub fn record_metrics(&self) {
        names::describe();
        let all = Export::for_resource(&self.0.audience);
        all.set_gauge(&names::CUTOFFS, float(self.0.revocations.len()));
        if let Some(state) = self.feed_state() {
            let is_behind = state == FeedState::Behind;
            all.set_gauge(&names::FEED_BEHIND, f64::from(u8::from(is_behind)));
        }
        #[cfg(feature = "_crypto")]
        all.set_gauge(&names::STREAMS, float(self.0.leases.open()));
        #[cfg(feature = "signals")]
        all.set_gauge(&names::SIGNALS_PENDING, float(self.0.receivers.pending()));
        let now = Moment::now(&*self.0.clock);
        for (issuer, readiness) in self.0.issuers.iter().zip(self.readiness()) {
            let metrics = all.for_issuer(&Arc::from(issuer.name()));
            metrics.set_gauge(&names::READY, f64::from(u8::from(readiness.is_ready())));
            if let Some(age) = readiness.keys_age(now) {
                metrics.set_gauge(&names::KEYS_AGE, age.as_secs_f64());
                metrics.set_gauge(&names::UNKNOWN_KEYS, float(readiness.unknown_keys()));
            }
            // Without evidence, too: a gauge that is not set keeps its last value.
            if self.receives_signals() {
                let is_stale = readiness.signals() == Some(SignalState::Stale);
                metrics.set_gauge(&names::SIGNALS_STALE, f64::from(u8::from(is_stale)));
            }
            let stats = issuer.stats();
            record(&metrics, &stats, issuer.asks());
            if issuer.can_introspect() {
                record_breaker(&metrics, &stats);
            }
        }
        #[cfg(feature = "jwt")]
        if let Some(tenants) = &self.0.tenants {
            let (metrics, stats) = (all.for_issuer(&Arc::from(RESOLVED_ISSUERS)), tenants.stats());
            record(&metrics, &stats, true);
            record_breaker(&metrics, &stats);
        }
    }

    /// Returns true if there is a receiver of signals.
    fn receives_signals(&self) -> bool {
        #[cfg(feature = "signals")]
        return !self.0.receivers.is_empty();
        #[cfg(not(feature = "signals"))]
        false
    }
}

fn record(metrics: &Export, stats: &Stats, asks: bool) {
    for (result, count) in [
        ("hit", stats.hits),
        ("negative_hit", stats.negative_hits),
        ("miss", stats.misses),
        ("stale", stats.stale_served),
    ] {
        metrics.set_counter(
            &names::CACHE_REQUESTS,
            &[("tier", "memory"), ("result", result)],
            count,
        );
    }
    metrics.set_counter(&names::CACHE_CUTOFFS, &[], stats.evicted_by_cutoff);
    metrics.set_gauge(&names::CACHE_ENTRIES, float(stats.entries));
    metrics.set_gauge(&names::CACHE_BYTES, float(stats.bytes));
    // The remaining metrics are about calls of an authorization server or a custom verifier.
    if !asks {
        return;
    }
    metrics.set_counter(&names::CACHE_REFRESHES, &[], stats.refreshes);
    metrics.set_counter(&names::COALESCED, &[], stats.coalesced);
    for (cause, count) in
        [("breaker", stats.broken), ("bulkhead", stats.shed), ("budget", stats.over_budget)]
    {
        metrics.set_counter(&names::NOT_ASKED, &[("cause", cause)], count);
    }
}

fn record_breaker(metrics: &Export, stats: &Stats) {
    metrics.set_gauge(
        &names::BREAKER,
        match stats.breaker {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
        },
    );
}

/// Converts a count to a float. Exact up to 2^53, which no count here comes near.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(number: impl TryInto<u64>) -> f64 {
    number.try_into().unwrap_or(u64::MAX) as f64
}
