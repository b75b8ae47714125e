//! The rate of introspections of unknown tokens while the server is overloaded.

use std::time::Duration;

use super::recent::Time;

/// The shortest time between two cuts of the rate.
const BETWEEN_CUTS: Duration = Duration::from_secs(1);

/// The time without a refusal after which the rate grows.
const GROWS_AFTER: Duration = Duration::from_secs(5);

/// The time over which the rate of introspections is measured, in slices.
const SLICES: u64 = 10;
const SLICE: Duration = Duration::from_millis(100);

/// A limit by additive increase and multiplicative decrease. Known tokens are not limited.
#[derive(Debug, Default)]
pub(super) struct Overload {
    limit: Option<Limit>,
    last_cut: Option<Time>,
    sent: Sent,
}

#[derive(Debug)]
struct Limit {
    /// Introspections a second. Below one a second it is zero: they are stopped.
    rate: f64,
    /// The increase of the rate in five seconds.
    step: f64,
    /// The rate at which the limit ends.
    free_at: f64,
    /// The time at which the introspections were stopped.
    stopped: Option<Time>,
    /// The introspections that could be sent at `filled`.
    left: f64,
    filled: Time,
    /// The time up to which the growth of the rate is counted.
    grown: Time,
}

impl Overload {
    /// Returns true if an introspection of an unknown token may be sent.
    pub(super) fn allows(&mut self, now: Time) -> bool {
        self.grow(now);
        let Some(limit) = &mut self.limit else { return true };
        let passed = now.saturating_sub(limit.filled).as_secs_f64();
        limit.left = limit.rate.mul_add(passed, limit.left).min((limit.rate / 4.0).max(1.0));
        limit.filled = now;
        let allowed = limit.left >= 1.0;
        if allowed {
            limit.left -= 1.0;
        }
        allowed
    }

    pub(super) fn note_sent(&mut self, now: Time) {
        self.sent.add_one(now);
    }

    /// Halves the rate, at most once a second.
    pub(super) fn cut(&mut self, now: Time) {
        self.grow(now);
        if self.last_cut.is_some_and(|last| now.saturating_sub(last) < BETWEEN_CUTS) {
            return;
        }
        let seen = self.sent.in_last_second(now);
        let limit = self.limit.get_or_insert(Limit {
            rate: seen,
            step: (seen / 10.0).max(2.0),
            free_at: (4.0 * seen).max(20.0),
            stopped: None,
            left: 1.0,
            filled: now,
            grown: now,
        });
        limit.rate = limit.rate.min(seen) / 2.0;
        limit.grown = now;
        self.last_cut = Some(now);
        if limit.rate < 1.0 {
            limit.rate = 0.0;
            // With hardly any introspections before, they were as good as stopped.
            let before = if seen < 2.0 { BETWEEN_CUTS } else { Duration::ZERO };
            limit.stopped.get_or_insert(now.saturating_sub(before));
        }
    }

    /// Returns the time at which introspections of unknown tokens were stopped, if they are.
    pub(super) fn stopped(&mut self, now: Time) -> Option<Time> {
        self.grow(now);
        self.limit.as_ref()?.stopped
    }

    /// Returns true if the rate was cut within the last ten seconds.
    pub(super) fn was_cut_lately(&self, now: Time) -> bool {
        self.last_cut.is_some_and(|last| now.saturating_sub(last) <= 2 * GROWS_AFTER)
    }

    fn grow(&mut self, now: Time) {
        let (Some(limit), Some(cut)) = (&mut self.limit, self.last_cut) else { return };
        let from = limit.grown.max(cut + GROWS_AFTER);
        // Once a second, so that it does not grow while refusals come in.
        let seconds = now.saturating_sub(from).as_secs();
        if seconds == 0 {
            return;
        }
        limit.grown = from + Duration::from_secs(seconds);
        limit.rate +=
            limit.step * Duration::from_secs(seconds).as_secs_f64() / GROWS_AFTER.as_secs_f64();
        limit.stopped = None;
        if limit.rate > limit.free_at {
            self.limit = None;
        }
    }
}

/// Counts the introspections of the last second.
#[derive(Debug, Default)]
struct Sent {
    /// The count of each slice, and the number of the slice.
    slices: [(u64, u32); 10],
}

impl Sent {
    fn add_one(&mut self, now: Time) {
        let number = slice(now);
        let at = usize::try_from(number % SLICES).unwrap_or(0);
        let (of, count) = &mut self.slices[at];
        if *of != number {
            (*of, *count) = (number, 0);
        }
        *count = count.saturating_add(1);
    }

    fn in_last_second(&self, now: Time) -> f64 {
        let oldest = slice(now).saturating_sub(SLICES - 1);
        let recent = self.slices.iter().filter(|(of, _)| *of >= oldest);
        recent.map(|(_, count)| f64::from(*count)).sum()
    }
}

/// Returns the number of the slice, which is never zero: zero marks an unused one.
fn slice(now: Time) -> u64 {
    u64::try_from(now.as_millis() / SLICE.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Time = Duration::from_secs(1);

    /// Asks `rate` times in each second, and returns how many were allowed in the last.
    fn allowed(overload: &mut Overload, rate: u32, seconds: std::ops::Range<u32>) -> usize {
        let mut count = 0;
        for second in seconds {
            count = 0;
            for at in 0..rate {
                let now = SEC * second + SEC * at / rate;
                if overload.allows(now) {
                    overload.note_sent(now);
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn each_refusal_halves_the_rate_once_a_second_until_it_stops() {
        let mut overload = Overload::default();
        assert_eq!(allowed(&mut overload, 100, 0..10), 100);
        let mut expected = 100;
        for second in 10..16 {
            (0..5).for_each(|_| overload.cut(SEC * second));
            expected /= 2;
            let seen = allowed(&mut overload, 100, second..second + 1);
            assert!(seen.abs_diff(expected) <= 1 + expected / 2, "{second}: {seen}");
        }
        overload.cut(16 * SEC);
        overload.cut(17 * SEC);
        assert!(overload.stopped(17 * SEC).is_some());
        assert_eq!(allowed(&mut overload, 100, 18..19), 0);
    }

    #[test]
    fn rate_grows_by_steps_after_five_seconds_without_a_refusal() {
        let mut overload = Overload::default();
        allowed(&mut overload, 100, 0..10);
        (10..20).for_each(|second| overload.cut(SEC * second));
        assert!(overload.stopped(24 * SEC).is_some() && overload.was_cut_lately(24 * SEC));
        assert!(overload.stopped(25 * SEC).is_none());
        let seen = [30, 40, 80].map(|second| allowed(&mut overload, 100, second..second + 1));
        assert!(seen.is_sorted() && seen[0] < 25 && seen[2] > 60, "{seen:?}");
        assert!(!overload.was_cut_lately(80 * SEC));
        assert_eq!(allowed(&mut overload, 100, 400..401), 100, "the limit has ended");
    }
}
