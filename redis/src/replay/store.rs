//! A store of used proofs in Redis.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::aio::ConnectionLike;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};
use tower_introspect::{
    clock::UnixTime,
    proof::{Mark, Marked, Marking, ReplayStore},
};

use super::{
    exchange::{Exchange, PARTS, Reply, Since, since},
    mark_error::MarkError,
    settings::{GIVE_UP, Replicas, Settings},
};

const DEFAULT_IN_FLIGHT: usize = 1024;

/// A [`ReplayStore`] in Redis or Valkey, which all instances of a service share.
///
/// ```no_run
/// use std::time::Duration;
/// use tower_introspect::proof::Dpop;
/// use tower_introspect_redis::RedisReplayStore;
///
/// # async fn start(connection: redis::aio::MultiplexedConnection) -> Result<(), tower_introspect::ConfigError> {
/// let store = RedisReplayStore::new(connection)
///     .prefix("payments:dpop:")
///     .timeout(Duration::from_millis(10))
///     // The window and the time that `iat` may lie in the future, without nonces.
///     .longest_proof(Duration::from_secs(60));
/// let dpop = Dpop::new("https://payments.example.com")?.replay_store(store);
/// # let _ = dpop;
/// # Ok(())
/// # }
/// ```
///
/// Each mark is one key that expires by itself. A second key in the same slot tells since when Redis
/// has its data. Both are sent together with `SET .. NX GET`, which needs Redis 7 or Valkey. The user
/// of the connection needs `+set` and the keys of the [`prefix`](Self::prefix), and `+wait` and `+info`
/// for [`wait_for_replicas`](Self::wait_for_replicas) and [`check`](Self::check).
///
/// # Errors
///
/// If Redis does not mark a proof in time, the request is refused with
/// [`ReplayUnavailable`](tower_introspect::ErrorKind::ReplayUnavailable) (503). Its source is a
/// [`MarkError`]. The store never sends a mark again after a timeout, because the proof may be marked
/// by then. A client that repeats the request must make a new proof.
///
/// # Security
///
/// Redis must keep all marks: `maxmemory-policy` must be `noeviction`, which [`check`](Self::check)
/// reads. If Redis restarts without data or is flushed, proofs that may have been used before are refused
/// (503) until they have expired: see [`longest_proof`](Self::longest_proof). The store does not notice if
/// only the latest marks are lost, in a failover to a replica or a restart from an old snapshot.
/// [`wait_for_replicas`](Self::wait_for_replicas) and `appendonly yes` make such a loss less likely. Who
/// can write to Redis can make proofs good again, and can refuse all of them.
///
/// # Clone
///
/// Clones share the connection and the limit of [`max_in_flight`](Self::max_in_flight).
#[derive(Clone)]
pub struct RedisReplayStore<C> {
    pub(crate) connection: C,
    pub(crate) settings: Arc<Settings>,
    in_flight: Arc<Semaphore>,
    is_renewing: Arc<AtomicBool>,
}

impl<C> RedisReplayStore<C> {
    /// Creates a store with the default settings.
    ///
    /// The connection may be shared with other parts of the application, as long as none of them sends
    /// commands that block.
    ///
    /// ```no_run
    /// # async fn start() -> redis::RedisResult<()> {
    /// let client = redis::Client::open("redis://127.0.0.1/")?;
    /// let connection = client.get_multiplexed_async_connection().await?;
    /// let store = tower_introspect_redis::RedisReplayStore::new(connection);
    /// # let _ = store;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(connection: C) -> Self {
        Self {
            connection,
            settings: Arc::default(),
            in_flight: Arc::new(Semaphore::new(DEFAULT_IN_FLIGHT)),
            is_renewing: Arc::default(),
        }
    }

    /// Sets the start of all keys. The default is `tower-introspect:dpop:`.
    ///
    /// All instances of a service must have the same prefix. It should contain no braces, which have a
    /// meaning in a cluster.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        self.with(|settings| settings.prefix = prefix.into())
    }

    /// Sets the time for which a request waits for its mark. The default is 20 ms.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeout = timeout)
    }

    /// Waits until `count` replicas have the mark (`WAIT`), for at most `timeout` in addition to
    /// [`timeout`](Self::timeout).
    ///
    /// A request whose mark fewer replicas have is refused. By default the store does not wait. This
    /// makes it unlikely, but not impossible, that a failover loses a mark.
    ///
    /// `WAIT` holds up all commands behind it on the same connection, so the store should have a
    /// connection of its own. The response timeout of the connection must be longer.
    #[must_use]
    pub fn wait_for_replicas(self, count: u32, timeout: Duration) -> Self {
        self.with(|settings| settings.replicas = Some(Replicas { count, timeout }))
    }

    /// Sets the number of marks that may wait for Redis at a time. The default is 1024, the least is 1.
    ///
    /// Further requests are refused at once ([`MarkError::Busy`]). This bounds the memory while Redis
    /// does not respond. A mark counts until the connection gives up or five seconds have passed, also
    /// if its request does not wait any more.
    #[must_use]
    pub fn max_in_flight(mut self, marks: usize) -> Self {
        self.in_flight = Arc::new(Semaphore::new(marks.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    /// Sets the longest time for which a proof is good, at least one second. The default is two
    /// minutes.
    ///
    /// Without nonces a proof is good for the window and the time by which `iat` may be ahead: one
    /// minute by default. With nonces it is good for two rotations: two minutes by default. A proof
    /// that is good for longer is refused ([`MarkError::TooLong`]).
    ///
    /// If Redis has lost its data, a proof is refused that could have been used before
    /// ([`MarkError::MarksLost`]). With the default settings a proof that is made now is refused for some
    /// 100 s after the loss, and with one minute here for some 40 s. The same holds for the first start
    /// with an empty Redis.
    #[must_use]
    pub fn longest_proof(self, longest: Duration) -> Self {
        self.with(|settings| settings.longest_proof = longest.max(Duration::from_secs(1)))
    }

    /// Sets the largest difference between the clocks of two instances. The default is 5 s.
    ///
    /// Marks are kept for longer by this time.
    #[must_use]
    pub fn max_clock_difference(self, difference: Duration) -> Self {
        self.with(|settings| settings.clock_difference = difference)
    }

    /// Accepts that proofs are good once more after Redis has lost its data.
    ///
    /// The store then sends only `SET .. NX PX`, which servers before Redis 7 support.
    ///
    /// # Security
    ///
    /// After a restart of Redis without data, a captured request is good again until its proof expires.
    /// If a connection sends a command again by itself, as clusters do, the mark of the first attempt
    /// counts as a replay (401).
    #[must_use]
    pub fn danger_accept_losses(self) -> Self {
        self.with(|settings| settings.accepts_losses = true)
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisReplayStore<C> {
    async fn mark_proof(&self, mark: &Mark) -> Result<Marked, MarkError> {
        let settings = &*self.settings;
        if mark.keep_for() > settings.longest_proof {
            return Err(MarkError::TooLong);
        }
        let at = mark.at().wall();
        let keep = mark.keep_for().saturating_add(settings.clock_difference);
        let exchange = Exchange::new(settings, mark.key(), at, keep);
        let reply = self.run(exchange, settings.patience()).await?;
        if reply.marked == Marked::Replayed {
            return Ok(Marked::Replayed);
        }
        let since = match reply.since {
            None => None,
            Some(Since::Time(time)) => Some(time),
            Some(Since::Now) => {
                self.renew_all(at);
                Some(at)
            }
        };
        if since.is_some_and(|since| mark.until() < since.saturating_add(settings.doubt())) {
            return Err(MarkError::MarksLost);
        }
        if !reply.has_replicas {
            return Err(MarkError::TooFewReplicas);
        }
        Ok(Marked::First)
    }

    /// Runs the commands in a task, which goes on if the request is gone: the connection has to see its
    /// own errors, or it would not connect again, and what it has sent counts as in flight.
    pub(crate) async fn run(
        &self,
        exchange: Exchange,
        patience: Duration,
    ) -> Result<Reply, MarkError> {
        let runtime = Handle::try_current().map_err(|_| MarkError::Connection)?;
        let permit =
            Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| MarkError::Busy)?;
        let mut connection = self.connection.clone();
        let limit = self.settings.give_up();
        let task = runtime.spawn(async move {
            let outcome = timeout(limit, exchange.run(&mut connection)).await;
            drop(permit);
            outcome.unwrap_or(Err(MarkError::Timeout))
        });
        match timeout(patience, task).await {
            Err(_) => Err(MarkError::Timeout),
            // The task ended with a panic, or with the runtime.
            Ok(Err(_)) => Err(MarkError::Connection),
            Ok(Ok(outcome)) => outcome,
        }
    }

    /// Starts to set the keys of all parts, so that parts that are used later know of the loss as early
    /// as those that are used now.
    fn renew_all(&self, at: UnixTime) {
        if self.is_renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, renewing) = (self.clone(), Renewing(Arc::clone(&self.is_renewing)));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // What fails is done by the first mark of the part.
                let _ = timeout(GIVE_UP, store.all_since(at.saturating_add(GIVE_UP))).await;
                drop(renewing);
            });
        }
    }

    /// Returns the time since which Redis has the data of all parts, and sets the missing keys to `at`.
    ///
    /// `at` must not be before the end of this: what is missing can have been lost until it is asked for.
    pub(crate) async fn all_since(&self, at: UnixTime) -> Result<UnixTime, MarkError> {
        let mut connection = self.connection.clone();
        let mut latest = UnixTime::from_millis(i64::MIN);
        for part in 0..PARTS {
            latest = latest.max(match since(&mut connection, &self.settings, part, at).await? {
                Since::Now => at,
                Since::Time(time) => time,
            });
        }
        Ok(latest)
    }
}

/// Ends the renewal on drop.
struct Renewing(Arc<AtomicBool>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> ReplayStore for RedisReplayStore<C> {
    fn mark(&self, mark: Mark) -> Marking {
        let store = self.clone();
        Marking::pending(async move { store.mark_proof(&mark).await.map_err(Into::into) })
    }
}

impl<C> fmt::Debug for RedisReplayStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisReplayStore").field("settings", &self.settings).finish_non_exhaustive()
    }
}
