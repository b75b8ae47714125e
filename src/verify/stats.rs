use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// What caching, coalescing and breaking have come to so far.
///
/// A snapshot: numbers of the same moment need not add up. Each part fills in what it knows, and
/// [`Stats::merge`] puts the parts together.
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
    /// Requests answered with facts that were remembered and fresh enough.
    pub hits: u64,
    /// Requests answered with a refusal that was remembered.
    pub negative_hits: u64,
    /// Requests that had to be verified.
    pub misses: u64,
    /// Verifications ahead of time, in the background.
    pub refreshes: u64,
    /// Requests answered with stale facts, because the server was not available.
    pub stale_served: u64,
    /// Remembered facts dropped because of a cutoff.
    pub evicted_by_cutoff: u64,
    /// Requests that shared the verification of another.
    pub coalesced: u64,
    /// Verifications that went to the authorization server. Its internal repetition after a
    /// connection that failed is not counted.
    pub upstream_calls: u64,
    /// Verifications refused because too many were under way.
    pub shed: u64,
    /// Verifications refused because the breaker was open.
    pub broken: u64,
    /// Verifications refused because their peer had used up its budget for bad tokens.
    pub over_budget: u64,
    /// The breaker now; of several, the one that lets the least through.
    pub breaker: BreakerState,
    /// Facts and refusals that are remembered.
    pub entries: u64,
    /// The memory that they take.
    pub bytes: u64,
}

impl Stats {
    /// What these and those come to together.
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
            shed: self.shed + other.shed,
            broken: self.broken + other.broken,
            over_budget: self.over_budget + other.over_budget,
            breaker: self.breaker.max(other.breaker),
            entries: self.entries + other.entries,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Stats {
    /// What was counted, without what is only so now.
    pub(crate) fn counted(self) -> Self {
        Self { breaker: BreakerState::Closed, entries: 0, bytes: 0, ..self }
    }
}

/// What a [`CircuitBreaker`](super::CircuitBreaker) does with verifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// They pass.
    #[default]
    Closed,
    /// One passes, to see whether the server is back.
    HalfOpen,
    /// None passes.
    Open,
}

impl BreakerState {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A number that only grows. Nothing is decided by it, so nothing is ordered by it.
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
