use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crate::clock::{Clock, Moment, UnixTime};

/// A wall clock for tests.
///
/// It advances with tokio's time, which `tokio::time::pause` and `advance` control, or is
/// [pinned](Self::pinned). It can also be stepped on its own, as an operator or NTP steps a wall
/// clock. Clones share the same clock.
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::{
///     clock::{Clock, UnixTime},
///     test_util::TestClock,
/// };
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let clock = TestClock::new(UnixTime::from_secs(1_000));
/// tokio::time::advance(Duration::from_secs(5)).await;
/// assert_eq!(clock.now(), UnixTime::from_secs(1_005));
///
/// clock.step_back(Duration::from_secs(100));
/// assert_eq!(clock.now(), UnixTime::from_secs(905));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestClock {
    start: UnixTime,
    /// The moment at which the clock was started. `None` if it is pinned.
    started: Option<Moment>,
    /// The sum of all steps.
    offset_millis: Arc<AtomicI64>,
}

impl TestClock {
    /// Creates a clock that shows `start` now and advances with tokio's time.
    #[must_use]
    pub fn new(start: UnixTime) -> Self {
        Self { started: Some(Moment::now(&FixedClock(start))), ..Self::pinned(start) }
    }

    /// Creates a clock that shows `time` until it is stepped or set.
    ///
    /// It needs no runtime, and no test is too slow for it: tokens expire when the test says so.
    /// Use it for tests that run in real time or under another runtime than tokio. Timeouts, and
    /// the age of cached results, are still measured by the monotonic clock as well.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::{
    ///     ErrorKind, Policy,
    ///     claims::Claims,
    ///     clock::{Clock, Moment, UnixTime},
    ///     credentials::Scheme,
    ///     test_util::TestClock,
    ///     verify::{ActiveToken, Method},
    /// };
    ///
    /// let clock = TestClock::pinned(UnixTime::from_secs(1_893_456_000));
    /// let policy = Policy::new("https://api.example.com").clock(clock.clone());
    /// let admit = || {
    ///     let claims = br#"{"aud": "https://api.example.com", "exp": 1893459600}"#;
    ///     let claims = Claims::from_json(claims).expect("claims");
    ///     let now = Moment::now(&clock);
    ///     policy.admit(
    ///         ActiveToken::new("https://as.example.com", claims, Method::Custom, now),
    ///         Scheme::Bearer,
    ///     )
    /// };
    /// assert!(admit().is_ok());
    /// clock.step(Duration::from_secs(2 * 3600));
    /// assert_eq!(admit().unwrap_err().kind(), ErrorKind::Expired);
    /// ```
    #[must_use]
    pub fn pinned(time: UnixTime) -> Self {
        Self { start: time, started: None, offset_millis: Arc::default() }
    }

    /// Steps the clock forward. Monotonic time does not advance.
    pub fn step(&self, by: Duration) {
        self.offset_millis.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Steps the clock back.
    pub fn step_back(&self, by: Duration) {
        self.offset_millis.fetch_sub(millis(by), Ordering::SeqCst);
    }

    /// Steps the clock to `time`.
    pub fn set(&self, time: UnixTime) {
        let offset = time.as_millis().saturating_sub(self.unstepped().as_millis());
        self.offset_millis.store(offset, Ordering::SeqCst);
    }

    fn unstepped(&self) -> UnixTime {
        let Some(started) = self.started else { return self.start };
        // Both moments use the same fixed wall clock, so the time between them is tokio's.
        self.start.saturating_add(Moment::now(&FixedClock(self.start)).since(started))
    }
}

impl Default for TestClock {
    /// Creates a clock that shows 2030-01-01T00:00:00Z now and advances with tokio's time.
    fn default() -> Self {
        Self::new(UnixTime::from_secs(1_893_456_000))
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        let offset = self.offset_millis.load(Ordering::SeqCst);
        UnixTime::from_millis(self.unstepped().as_millis().saturating_add(offset))
    }
}

/// A clock that does not advance.
#[derive(Debug)]
struct FixedClock(UnixTime);

impl Clock for FixedClock {
    fn now(&self) -> UnixTime {
        self.0
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
