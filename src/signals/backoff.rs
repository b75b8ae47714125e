//! The pauses after failures.

use std::time::Duration;

use tower::util::rng::{HasherRng, Rng as _};

/// The pause after a first failure. Each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);

/// The longest `Retry-After` that is honored. A longer one is shortened to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Pauses that double, each a random fifth shorter or longer, so that replicas spread.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    longest: Duration,
    rng: HasherRng,
}

impl Backoff {
    /// Creates pauses that double from one second up to `longest`.
    pub(super) fn up_to(longest: Duration) -> Self {
        Self { failures: 0, longest, rng: HasherRng::default() }
    }

    /// Returns the pause after another failure. It is at least `retry_after`.
    pub(super) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let pause = doubled.mul_f64(0.8 + 0.4 * self.rng.next_f64());
        pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }

    /// Starts again with the first pause.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_honor_retry_after_up_to_five_minutes() {
        let mut backoff = Backoff::up_to(Duration::from_secs(60));
        for secs in [1, 2, 4, 8, 16, 32, 60, 60] {
            let (pause, middle) = (backoff.next(None), Duration::from_secs(secs));
            assert!(pause >= middle.mul_f64(0.8) && pause <= middle.mul_f64(1.2), "{pause:?}");
        }
        backoff.reset();
        assert_eq!(backoff.next(Some(Duration::from_secs(9))), Duration::from_secs(9));
        assert_eq!(backoff.next(Some(Duration::MAX)), MAX_RETRY_AFTER);
    }
}
