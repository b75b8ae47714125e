use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// Counters and sizes of the layers around a verifier.
///
/// The numbers are a snapshot: they are read one after the other and need not add up. Each layer
/// fills in its own numbers, and [`Stats::merge`] combines them.
///
/// ```
/// use tower_introspect::verify::{BreakerState, Stats};
///
/// let stats = Stats::default();
/// assert_eq!((stats.hits, stats.breaker), (0, BreakerState::Closed));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests served from cached facts that were fresh enough.
    pub hits: u64,
    /// Requests refused from a cached refusal.
    pub negative_hits: u64,
    /// Requests that had to be verified.
    pub misses: u64,
    /// Verifications ahead of time, in the background.
    pub refreshes: u64,
    /// Requests served from stale facts because the server was unavailable.
    pub stale_served: u64,
    /// Cached facts dropped because of a cutoff.
    pub evicted_by_cutoff: u64,
    /// Requests that shared the verification of another.
    pub coalesced: u64,
    /// Verifications that went to the authorization server. A retry after a connection was closed
    /// is not counted.
    pub upstream_calls: u64,
    /// Canaries: verifications of random tokens, or of a token of this service, by which the health
    /// of the server is judged. Not counted in `upstream_calls`.
    pub canaries: u64,
    /// Verifications refused because too many were under way.
    pub shed: u64,
    /// Verifications refused because the breaker was open.
    pub broken: u64,
    /// Verifications refused because their peer had used up its budget for bad tokens.
    pub over_budget: u64,
    /// The current state of the breaker. Of several breakers, that of the one that lets the least
    /// through.
    pub breaker: BreakerState,
    /// Facts and refusals in the cache.
    pub entries: u64,
    /// The memory that they take, in bytes.
    pub bytes: u64,
}

impl Stats {
    /// Returns the sum of both.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            negative_hits: self.negative_hits + other.negative_hits,
            misses: self.misses + other.misses,
            refreshes: self.refreshes + other.refreshes,
            stale_served: self.stale_served + other.stale_served,
            evicted_by_cutoff: self.evicted_by_cutoff + other.evicted_by_cutoff,
            coalesced: self.coalesced + other.coalesced,
            upstream_calls: self.upstream_calls + other.upstream_calls,
            canaries: self.canaries + other.canaries,
            shed: self.shed + other.shed,
            broken: self.broken + other.broken,
            over_budget: self.over_budget + other.over_budget,
            breaker: self.breaker.max(other.breaker),
            entries: self.entries + other.entries,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Returns the counters alone, without the current state of breaker and cache.
    pub(crate) fn counters_only(self) -> Self {
        Self { breaker: BreakerState::Closed, entries: 0, bytes: 0, ..self }
    }
}

/// The state of a [`CircuitBreaker`](crate::upstream::CircuitBreaker).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// Verifications pass.
    #[default]
    Closed,
    /// One verification passes, to test whether the server is available again.
    HalfOpen,
    /// No verification passes. If canaries judge the server, one a second does.
    Open,
}

impl BreakerState {
    /// Returns a stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A number that only grows. No decision depends on it, so relaxed ordering is enough.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
