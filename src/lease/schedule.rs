//! The times at which the token of open streams is verified again.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two verifications of one token.
pub(super) const MIN_PERIOD: Duration = Duration::from_secs(1);

/// The longest time until a token is looked at again, whatever was planned. A step of the wall clock
/// has an effect within this time.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The least time for the answer of a verification: the default timeout of an introspection. More
/// would be beyond the bound, which has room for one verification.
const MIN_ANSWER_TIME: Duration = Duration::from_secs(3);

/// The longest period, and the longest time for which stale facts count. No instant is beyond it.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// The longest pause after a verification that failed for no fault of the client.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The times of one verification: when it starts, and when its facts no longer count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) recheck_at: Instant,
    pub(super) give_up_at: Instant,
}

/// The settings of the schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) max_age: Duration,
    pub(super) stale_if_error: Duration,
}

impl Schedule {
    /// Returns the times for facts of this age.
    ///
    /// `luck` is between 0 and 1, and spreads the tokens: verifications start at 60 to 80 % of the
    /// maximum age, and streams end at 80 to 100 % of it if there is no answer. So neither comes at
    /// once for all, and each has a fifth of the maximum age for its answer, and 3 s at least: also if
    /// the facts are old already, as those of a cache may be when a stream is opened.
    pub(super) fn times(&self, now: Instant, age: Duration, luck: f64) -> Times {
        let period = self.period();
        let at =
            |share: f64, more: Duration| now + (period.mul_f64(share) + more).saturating_sub(age);
        let recheck_at = at(0.8 - 0.2 * luck, Duration::ZERO);
        let stale = self.stale_if_error.min(FOR_EVER);
        let least = (recheck_at + MIN_ANSWER_TIME).min(at(1.0, stale + MIN_ANSWER_TIME));
        Times { recheck_at, give_up_at: at(1.0 - 0.2 * luck, stale).max(least) }
    }

    /// Returns the time between verifications.
    pub(super) fn period(&self) -> Duration {
        self.max_age.clamp(MIN_PERIOD, FOR_EVER)
    }

    /// Returns the age that facts of a cache may have to serve as another verification.
    pub(super) fn acceptable_age(&self) -> Duration {
        self.period() / 2
    }

    /// Returns the pause before the next attempt, after this many that failed.
    pub(super) fn retry_pause(&self, failures: u32, luck: f64) -> Duration {
        let pause = MIN_PERIOD.saturating_mul(1 << failures.min(3)).min(MAX_RETRY_PAUSE);
        pause.min(self.period()).mul_f64(0.5 + 0.5 * luck)
    }
}

/// Returns a number between 0 and 1 that looks random, from a hash.
pub(super) fn luck(hash: u64) -> f64 {
    f64::from((hash >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an instant of paused time to count from")]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn verifications_start_before_streams_would_end() {
        let schedule = Schedule { max_age: MAX_AGE, stale_if_error: Duration::ZERO };
        let now = Instant::now();
        for luck in [0.0, 0.1, 0.5, 0.9, 1.0] {
            let Times { recheck_at, give_up_at } = schedule.times(now, Duration::ZERO, luck);
            assert!(recheck_at >= now + MAX_AGE.mul_f64(0.599), "{luck}");
            assert!(recheck_at <= now + MAX_AGE.mul_f64(0.801), "{luck}");
            assert!(give_up_at >= recheck_at + MAX_AGE.mul_f64(0.199), "{luck}");
            assert!(give_up_at <= now + MAX_AGE, "{luck}: the bound");
            // Facts that are older already.
            let later = schedule.times(now, MAX_AGE / 3, luck);
            assert_eq!(later.give_up_at + MAX_AGE / 3, give_up_at);
            // Nearly too old, and still there is time for an answer.
            let Times { recheck_at, give_up_at } = schedule.times(now, MAX_AGE, luck);
            assert_eq!((recheck_at, give_up_at), (now, now + MIN_ANSWER_TIME));
            assert!(schedule.times(now, MAX_AGE * 2, luck).give_up_at <= now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn times_of_any_settings_leave_time_for_an_answer() {
        let now = Instant::now();
        let durations = [Duration::ZERO, Duration::from_millis(1), MAX_AGE, Duration::MAX];
        for (max_age, stale_if_error) in durations.iter().flat_map(|a| durations.map(|b| (*a, b))) {
            let schedule = Schedule { max_age, stale_if_error };
            let oldest = schedule.period().saturating_add(stale_if_error);
            let ages = durations.iter().filter(|age| **age <= oldest.min(FOR_EVER));
            for (age, luck) in ages.flat_map(|age| [(*age, 0.0), (*age, 1.0)]) {
                let Times { recheck_at, give_up_at } = schedule.times(now, age, luck);
                assert!(give_up_at >= recheck_at + MIN_ANSWER_TIME, "{schedule:?} {age:?}");
                let is_endless = max_age == Duration::MAX || stale_if_error == Duration::MAX;
                assert!(!is_endless || age != Duration::ZERO || give_up_at > now + MAX_AGE * 1_000);
            }
        }
    }

    #[test]
    fn pauses_are_bounded() {
        let schedule = Schedule { max_age: Duration::ZERO, stale_if_error: Duration::ZERO };
        assert_eq!(schedule.period(), MIN_PERIOD);
        for failures in [0, 1, 5, u32::MAX] {
            let pause = schedule.retry_pause(failures, 1.0);
            assert!(pause > Duration::ZERO && pause <= MAX_RETRY_PAUSE);
        }
        assert!((0.0..=1.0).contains(&luck(0)) && (0.0..=1.0).contains(&luck(u64::MAX)));
    }
}
