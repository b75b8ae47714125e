//! Time, injected: a wall clock for what tokens say, a monotonic one for how old an answer is.
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
/// The policy asks it for the time against which `exp`, `nbf` and `iat` are held (RFC 7519
/// §4.1.4 to §4.1.6). Tests give their own.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> UnixTime;

    /// The current time, which the monotonic clock calls `monotonic`. For a clock that need not be
    /// read each time.
    #[doc(hidden)]
    fn now_at(&self, _monotonic: Instant) -> UnixTime {
        self.now()
    }

    /// Two clocks with the same identity are one, and what it said need not be asked for twice.
    #[doc(hidden)]
    fn identity(&self) -> usize {
        std::ptr::from_ref(self).cast::<()>().addr()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> UnixTime {
        (**self).now()
    }

    fn now_at(&self, monotonic: Instant) -> UnixTime {
        (**self).now_at(monotonic)
    }

    fn identity(&self) -> usize {
        (**self).identity()
    }
}

/// The clock of the operating system. A [`Moment`] of it is as exact as a [`UnixTime`], a millisecond.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it is used as a value")]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> UnixTime {
        // A clock before 1970 reads as 1970: every token then looks issued in the future, which
        // refuses rather than admits.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime::from_millis(0).saturating_add(since)
    }

    /// Where many requests come in, most of them within the same millisecond as the one before, which is
    /// all that a [`UnixTime`] can tell.
    fn now_at(&self, monotonic: Instant) -> UnixTime {
        match LAST_READ.get() {
            // Whatever happens to the wall clock, it is looked at again after as much time of this
            // process.
            Some((at, until, wall)) if at <= monotonic && monotonic < until => wall,
            _ => {
                let wall = self.now();
                LAST_READ.set(Some((monotonic, monotonic + RESOLUTION, wall)));
                wall
            }
        }
    }

    /// There is one, wherever its values are. No address is zero.
    fn identity(&self) -> usize {
        0
    }
}

/// Of a [`UnixTime`].
const RESOLUTION: Duration = Duration::from_millis(1);

thread_local! {
    /// When this thread last read the wall clock, by the monotonic clock, until when that holds, and
    /// what it said.
    static LAST_READ: Cell<Option<(Instant, Instant, UnixTime)>> = const { Cell::new(None) };
}

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
///
/// All arithmetic saturates, so that no date an attacker writes into a token can overflow.
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
    /// A time `secs` seconds after the epoch, saturating.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// A time `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Whole seconds since the epoch, rounded towards the past.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This time, `duration` later.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This time, `duration` earlier.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How much later than `earlier` this is; zero if it is not.
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

/// One instant read from both clocks.
///
/// The wall clock survives a suspended machine, the monotonic clock survives a stepped wall
/// clock; an age is the larger of what the two say, so either mishap makes an answer look older,
/// never younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    wall: UnixTime,
    monotonic: Instant,
}

impl Moment {
    /// Reads both clocks.
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

    /// The wall-clock reading.
    #[must_use]
    pub const fn wall(self) -> UnixTime {
        self.wall
    }

    /// True if this moment came before `other`, in the order in which this process saw them.
    ///
    /// By the monotonic clock alone, which no step of the wall clock turns around.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.monotonic < other.monotonic
    }

    /// The later of the two, in that order.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    /// The time passed from `earlier` to this moment, by the monotonic clock alone. For what must not
    /// jump when the wall clock is stepped, such as a rate.
    #[must_use]
    pub fn monotonic_since(self, earlier: Self) -> Duration {
        self.monotonic.saturating_duration_since(earlier.monotonic)
    }

    /// The time passed from `earlier` to this moment, by whichever clock saw more of it.
    #[must_use]
    #[inline]
    pub fn since(self, earlier: Self) -> Duration {
        let wall = self.wall.saturating_duration_since(earlier.wall);
        wall.max(self.monotonic.saturating_duration_since(earlier.monotonic))
    }
}

/// A moment, and the clock that it was read from: whoever goes by the same clock, and is asked at the
/// same time, need not read it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    moment: Moment,
    clock: usize,
}

impl Reading {
    #[inline]
    pub(crate) fn take(clock: &dyn Clock) -> Self {
        Self { moment: Moment::now(clock), clock: clock.identity() }
    }

    #[inline]
    pub(crate) const fn moment(self) -> Moment {
        self.moment
    }

    /// The moment by `clock`.
    #[inline]
    pub(crate) fn by(self, clock: &dyn Clock) -> Moment {
        if clock.identity() == self.clock { self.moment } else { Moment::now(clock) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A wall clock that stands still, at seconds of Unix time.
    #[derive(Clone, Debug)]
    pub(crate) struct At(pub(crate) i64);

    impl Clock for At {
        fn now(&self) -> UnixTime {
            UnixTime::from_secs(self.0)
        }
    }

    /// For what happens outside of a runtime, where time can't be paused.
    #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
    pub(crate) fn before_now(duration: Duration) -> Moment {
        let monotonic = Instant::now().checked_sub(duration).expect("the machine runs for longer");
        Moment { wall: SystemClock.now().saturating_sub(duration), monotonic }
    }

    /// A clock that is read for each request would cost more than most of what is done for one.
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
        // A stepped or suspended machine, whichever way: never for longer than that.
        assert_ne!(after(1_000_000_000), said);
        read();
        assert_ne!(SystemClock.now_at(start - Duration::from_micros(1)), said);
        assert_ne!(SystemClock.now(), said, "nor does it hold for who asks for the time itself");
    }

    #[test]
    fn what_one_clock_said_is_not_what_another_says() {
        let (one, other): (Arc<dyn Clock>, Arc<dyn Clock>) = (Arc::new(At(1)), Arc::new(At(2)));
        let reading = Reading::take(&one);
        assert_eq!(reading.by(&Arc::clone(&one)).wall(), UnixTime::from_secs(1));
        assert_eq!(reading.by(&*one), reading.moment(), "however it is held");
        assert_eq!(reading.by(&other).wall(), UnixTime::from_secs(2));
        let system: Arc<dyn Clock> = Arc::new(SystemClock);
        let reading = Reading::take(&SystemClock);
        assert_eq!(reading.by(&system), reading.moment());
        assert_eq!(reading.by(&one).wall(), UnixTime::from_secs(1));
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
    fn seconds_round_towards_the_past() {
        assert_eq!(UnixTime::from_millis(-1).as_secs(), -1);
        assert_eq!(UnixTime::from_millis(1999).as_secs(), 1);
    }
}
