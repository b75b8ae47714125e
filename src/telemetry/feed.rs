//! Reports on the feed of cutoffs.

#[cfg(feature = "metrics")]
use super::metrics;
#[cfg(feature = "tracing")]
use super::{
    events::{TARGET, limited},
    limit::Limiter,
};
#[cfg(feature = "tracing")]
use crate::clock::{Moment, SystemClock};

/// Reports that cutoffs of other instances may be missing, or that none is any more.
pub(crate) fn feed_state(is_current: bool) {
    #[cfg(feature = "tracing")]
    if is_current {
        tracing::info!(target: TARGET, "cutoffs of other instances are known");
    } else {
        tracing::warn!(target: TARGET, "cutoffs of other instances may be missing");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = is_current;
}

/// Counts and reports that all facts are verified again, for a reason in words of the feed.
pub(crate) fn feed_doubt(reason: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::feed_doubt(reason);
    #[cfg(feature = "tracing")]
    limited!(WARN, reason, reason, "facts are verified again, as cutoffs may have been missed");
    #[cfg(not(any(feature = "metrics", feature = "tracing")))]
    let _ = reason;
}

/// Reports that other instances can't be reached, for a reason in words of the feed.
pub(crate) fn feed_failure(reason: &'static str) {
    #[cfg(feature = "tracing")]
    limited!(WARN, reason, reason, "cutoffs can't be shared");
    #[cfg(not(feature = "tracing"))]
    let _ = reason;
}

/// Counts and reports what is not from this service.
pub(crate) fn feed_foreign(count: u64) {
    #[cfg(feature = "metrics")]
    metrics::feed_foreign(count);
    #[cfg(feature = "tracing")]
    if count > 0 {
        limited!(
            ERROR,
            "foreign",
            count,
            "the shared tier has cutoffs that are not from this service"
        );
    }
    #[cfg(not(any(feature = "metrics", feature = "tracing")))]
    let _ = count;
}
