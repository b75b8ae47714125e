//! Provides wall-clock and monotonic time, with a wall clock that the application can replace.
//!
//! Dates in tokens are compared with the wall clock. The age of a verification result is measured
//! by both clocks.
//!
//! ```
//! use tower_introspect::clock::{Clock, SystemClock, UnixTime};
//!
//! let now = SystemClock.now();
//! assert!(now > UnixTime::from_secs(1_600_000_000));
//! ```

use std::{
    cell::Cell,
    fmt::{self, Debug},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// A source of wall-clock time.
///
/// The policy compares `exp`, `nbf` and `iat` with this time (RFC 7519 §4.1.4 to §4.1.6). Tests can
/// supply a clock of their own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Clock`",
    label = "not a clock",
    note = "use `clock::SystemClock`, or implement `clock::Clock` for a type that is `Debug + Send + Sync + 'static`"
)]
pub trait Clock: Debug + Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> UnixTime;

    /// Returns the wall-clock time at the instant `monotonic`.
    ///
    /// A clock may implement this to be read less often.
    #[doc(hidden)]
    fn now_at(&self, _monotonic: Instant) -> UnixTime {
        self.now()
    }

    /// Returns false if a clock that shows `time` is certainly wrong.
    ///
    /// By default every time can be right.
    #[doc(hidden)]
    fn can_be_right(&self, _time: UnixTime) -> bool {
        true
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> UnixTime {
        (**self).now()
    }

    fn now_at(&self, monotonic: Instant) -> UnixTime {
        (**self).now_at(monotonic)
    }

    fn can_be_right(&self, time: UnixTime) -> bool {
        (**self).can_be_right(time)
    }
}

/// The clock of the operating system.
///
/// A time before 2025 is certainly wrong: this crate is younger. A [`Policy`](crate::Policy) then
/// admits no token, because it can't tell which have expired
/// ([`ClockWrong`](crate::ErrorKind::ClockWrong)).
///
/// A [`Moment`] read from it is exact to a millisecond, as a [`UnixTime`] is.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it is used as a value")]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> UnixTime {
        // A clock before 1970 reads as 1970, which can't be right either.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime::from_millis(0).saturating_add(since)
    }

    /// Reads the clock at most once per millisecond and thread.
    ///
    /// On a busy server most requests come within the same millisecond as the one before, and a
    /// [`UnixTime`] is no finer than that.
    fn now_at(&self, monotonic: Instant) -> UnixTime {
        match LAST_READ.get() {
            // `until` is an instant of the monotonic clock, so a change of the wall clock is seen
            // within `RESOLUTION`.
            Some((at, until, wall)) if at <= monotonic && monotonic < until => wall,
            _ => {
                let wall = self.now();
                LAST_READ.set(Some((monotonic, monotonic + RESOLUTION, wall)));
                wall
            }
        }
    }

    fn can_be_right(&self, time: UnixTime) -> bool {
        time >= EARLIEST
    }
}

/// The start of 2025, before the first release of this crate. Machines without a battery for their
/// clock often start in 1970, or at the time at which their system was built.
pub(crate) const EARLIEST: UnixTime = UnixTime::from_secs(1_735_689_600);

/// The resolution of a [`UnixTime`].
pub(crate) const RESOLUTION: Duration = Duration::from_millis(1);

thread_local! {
    /// This thread's last reading of the wall clock: the instant at which it was read, the instant
    /// until which it holds, and the time.
    static LAST_READ: Cell<Option<(Instant, Instant, UnixTime)>> = const { Cell::new(None) };
}

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
///
/// All arithmetic saturates, so a date that an attacker writes into a token can't overflow.
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::clock::UnixTime;
///
/// let exp = UnixTime::from_secs(i64::MAX);
/// assert_eq!(exp.saturating_add(Duration::from_secs(30)), exp);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// Creates a time `secs` seconds after the epoch, saturating.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Creates a time `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the whole seconds since the epoch, rounded towards the past.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the time as a [`SystemTime`], or `None` if the platform can't represent it.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_introspect::clock::UnixTime;
    ///
    /// let time = UnixTime::from_millis(1_500).to_system_time();
    /// assert_eq!(time, Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500)));
    /// ```
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_millis(self.0.unsigned_abs());
        if self.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
    }

    /// Returns the time `duration` later, saturating.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// Returns the time `duration` earlier, saturating.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// Returns the time passed since `earlier`, or zero if this time is not later.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0))
            .map_or(Duration::ZERO, Duration::from_millis)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_secs())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// An instant read from both clocks.
///
/// The wall clock goes on while the machine is suspended. The monotonic clock ignores steps of the
/// wall clock. An age is the larger of the two differences, so a suspension or a step makes a
/// result look older, never younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    wall: UnixTime,
    monotonic: Instant,
}

impl Moment {
    /// Returns the current moment, read from both clocks.
    ///
    /// ```
    /// use tower_introspect::clock::{Moment, SystemClock};
    ///
    /// let start = Moment::now(&SystemClock);
    /// assert!(Moment::now(&SystemClock).since(start).as_secs() < 60);
    /// ```
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    #[inline]
    pub fn now(clock: &dyn Clock) -> Self {
        let monotonic = Instant::now();
        Self { wall: clock.now_at(monotonic), monotonic }
    }

    /// Returns the wall-clock reading.
    #[must_use]
    pub const fn wall(self) -> UnixTime {
        self.wall
    }

    /// Returns the reading of the monotonic clock.
    pub(crate) const fn monotonic(self) -> Instant {
        self.monotonic
    }

    /// Returns true if this moment came before `other`, in the order in which this process saw
    /// them.
    ///
    /// Only the monotonic clock counts, so a step of the wall clock can't reverse the order.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.monotonic < other.monotonic
    }

    /// Returns the later of the two moments, in the order of [`is_before`](Self::is_before).
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    /// Returns the time passed since `earlier`, by the monotonic clock alone.
    ///
    /// Use it for values that must not jump when the wall clock is stepped, such as a rate.
    #[must_use]
    pub fn monotonic_since(self, earlier: Self) -> Duration {
        self.monotonic.saturating_duration_since(earlier.monotonic)
    }

    /// Returns the time passed since `earlier`, by the clock that measured more.
    #[must_use]
    #[inline]
    pub fn since(self, earlier: Self) -> Duration {
        let wall = self.wall.saturating_duration_since(earlier.wall);
        wall.max(self.monotonic.saturating_duration_since(earlier.monotonic))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A wall clock that stands still at this number of seconds since the epoch.
    #[derive(Clone, Debug)]
    pub(crate) struct FixedClock(pub(crate) i64);

    impl Clock for FixedClock {
        fn now(&self) -> UnixTime {
            UnixTime::from_secs(self.0)
        }
    }

    /// Returns the moment `duration` ago.
    ///
    /// For tests outside of a runtime, where time can't be paused.
    #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
    pub(crate) fn before_now(duration: Duration) -> Moment {
        let monotonic = Instant::now().checked_sub(duration).expect("the machine runs for longer");
        Moment { wall: SystemClock.now().saturating_sub(duration), monotonic }
    }

    /// Reading the clock for each request would cost more than most of the work for that request.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
    fn wall_clock_is_read_once_in_a_millisecond_of_this_process() {
        let (start, said) = (Instant::now() + Duration::from_secs(1), UnixTime::from_secs(5));
        let read = || LAST_READ.set(Some((start, start + RESOLUTION, said)));
        let after = |micros| {
            read();
            SystemClock.now_at(start + Duration::from_micros(micros))
        };
        assert_eq!(after(0), said);
        assert_eq!(after(999), said);
        assert_ne!(after(1_000), said);
        // A reading never holds for longer, whichever way the machine was stepped or suspended.
        assert_ne!(after(1_000_000_000), said);
        read();
        assert_ne!(SystemClock.now_at(start - Duration::from_micros(1)), said);
        assert_ne!(SystemClock.now(), said, "nor does it hold for who asks for the time itself");
    }

    #[test]
    fn only_the_system_clock_is_known_to_be_wrong_before_this_crate_was_released() {
        let system: Arc<dyn Clock> = Arc::new(SystemClock);
        for (secs, expected) in [
            (i64::MIN, false),
            (0, false),
            (1_577_836_800, false),
            (1_735_689_599, false),
            (1_735_689_600, true),
            (4_102_444_800, true),
        ] {
            let time = UnixTime::from_secs(secs);
            assert_eq!(system.can_be_right(time), expected, "{secs}");
            assert!(FixedClock(secs).can_be_right(time));
        }
    }

    #[test]
    fn unix_time_saturates_at_both_ends() {
        let far = Duration::from_secs(u64::MAX);
        assert_eq!(UnixTime::from_secs(i64::MAX).saturating_add(far).as_millis(), i64::MAX);
        assert_eq!(UnixTime::from_secs(i64::MIN).saturating_sub(far).as_millis(), i64::MIN);
        assert_eq!(
            UnixTime::from_secs(i64::MIN).saturating_duration_since(UnixTime::from_secs(i64::MAX)),
            Duration::ZERO
        );
    }

    #[test]
    fn unix_time_converts_to_system_time_before_and_after_the_epoch() {
        let of = |millis| UnixTime::from_millis(millis).to_system_time();
        assert_eq!(of(0), Some(UNIX_EPOCH));
        assert_eq!(of(-1_500), UNIX_EPOCH.checked_sub(Duration::from_millis(1_500)));
        assert_eq!(of(1_500), UNIX_EPOCH.checked_add(Duration::from_millis(1_500)));
        // No date of a token panics, whatever the platform can represent.
        for millis in [i64::MIN, i64::MAX] {
            let _ = of(millis);
        }
    }

    #[test]
    fn seconds_round_towards_the_past() {
        assert_eq!(UnixTime::from_millis(-1).as_secs(), -1);
        assert_eq!(UnixTime::from_millis(1999).as_secs(), 1);
    }
}
