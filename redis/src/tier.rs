//! The tier in Redis that the instances of a service share.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::aio::ConnectionLike;
use tower_introspect::{
    BoxError,
    clock::{Clock, Moment},
    proof::ReplayStore,
    resource_server::SharedTier,
    revocation::{CutoffFeed, LocalCutoffs},
};

use crate::{
    cutoffs::{
        commands::Keys,
        feed::{FeedSettings, NotTold, RedisFeed},
        message::Place,
        replica::{Replica, Settings},
    },
    replay::store::RedisReplayStore,
    secret::SharedSecret,
};

const DEFAULT_PREFIX: &str = "tower-introspect:";

/// Shares used proofs and cutoffs between all instances of a service, in Redis or Valkey.
///
/// ```no_run
/// use tower_introspect::{Issuer, ResourceServer};
/// use tower_introspect_redis::{RedisTier, SharedSecret};
///
/// # async fn start(secret: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// let client = redis::Client::open("redis://api:secret@127.0.0.1/")?;
/// let connection = client.get_multiplexed_async_connection().await?;
/// let feed = client.get_multiplexed_async_connection().await?;
/// let tier = RedisTier::new(connection, SharedSecret::new(secret)?).feed(feed);
/// let api = ResourceServer::builder("https://api.example.com")
///     .issuer(Issuer::jwt("https://as.example.com"))
///     .shared(tier.clone())
///     .build()?;
/// # let _ = api;
/// // At the end, so that the other instances do not miss this one.
/// tier.close().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cutoffs
///
/// A cutoff that one instance learns of, by [`Revocations::revoke`], a logout or a security event, holds
/// in all others as soon as they read it, which takes some milliseconds. A logout or an event is
/// acknowledged only when it is written in Redis.
///
/// While an instance may have missed cutoffs, it [is behind](tower_introspect::revocation::FeedState):
/// Redis is away for seven seconds, a message is missing, another instance is silent for
/// [seven seconds](Self::heartbeat) without having said that it ends, or another instance knows other cutoffs. It then reads all cutoffs,
/// and has the facts from before verified again, over one minute. Until then a revocation holds within
/// the maximum age of facts, as without this tier. JWTs that are verified locally are admitted, unless
/// [`require_feed`](Self::require_feed) is set.
///
/// The user of the connection needs `+hset +hdel +hlen +hkeys +hgetall +hmget +hscan +xadd +xread +xrange
/// +xrevrange +multi +exec` on the keys of the [`prefix`](Self::prefix), besides what a
/// [`RedisReplayStore`] needs. Redis must keep all of them (`maxmemory-policy noeviction`).
///
/// # Security
///
/// The secret seals the cutoffs, but not the marks of used proofs. An attacker who can write to Redis, but
/// does not know the secret, can neither admit a token nor revoke one. He can hold back cutoffs until an
/// instance is silent, and can isolate an instance that starts. He can make proofs good again, and can
/// have facts verified again.
///
/// # Clone
///
/// Clones share everything.
///
/// [`Revocations::revoke`]: tower_introspect::revocation::Revocations::revoke
#[derive(Clone)]
pub struct RedisTier<C> {
    connection: C,
    waiting: Option<C>,
    secret: SharedSecret,
    prefix: String,
    epoch: u32,
    replay: Option<Replay<C>>,
    feed: FeedSettings,
    capacity: usize,
    clock_difference: Duration,
    heartbeat: Duration,
    feeds: Arc<Mutex<Vec<RedisFeed<C>>>>,
}

type Replay<C> = Arc<dyn Fn(RedisReplayStore<C>) -> RedisReplayStore<C> + Send + Sync>;

impl<C> RedisTier<C> {
    /// The time between two merges of an instance with all cutoffs in Redis.
    pub const MERGE_INTERVAL: Duration = Duration::from_secs(300);

    /// Creates a tier with the default settings.
    ///
    /// The connection may be shared with other parts of the application, as long as none of them sends
    /// commands that block.
    ///
    /// ```no_run
    /// use tower_introspect_redis::{RedisTier, SharedSecret};
    ///
    /// # async fn start(secret: SharedSecret) -> redis::RedisResult<()> {
    /// let client = redis::Client::open("redis://127.0.0.1/")?;
    /// let tier = RedisTier::new(client.get_multiplexed_async_connection().await?, secret);
    /// # let _ = tier;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(connection: C, secret: SharedSecret) -> Self {
        Self {
            connection,
            waiting: None,
            secret,
            prefix: DEFAULT_PREFIX.to_owned(),
            epoch: 1,
            replay: None,
            feed: FeedSettings {
                flush_timeout: Duration::from_secs(2),
                is_required: false,
                spread: Duration::from_secs(60),
                replicas: None,
            },
            capacity: 100_000,
            clock_difference: Duration::from_secs(60),
            heartbeat: Duration::from_secs(2),
            feeds: Arc::default(),
        }
    }

    /// Waits for cutoffs on a connection of its own.
    ///
    /// Nothing else may use it or one of its clones: the commands behind a blocked one would wait. Its
    /// response timeout must be longer than 250 ms. Without it cutoffs are fetched four times a second.
    #[must_use]
    pub fn feed(mut self, connection: C) -> Self {
        self.waiting = Some(connection);
        self
    }

    /// Sets the start of all keys. The default is `tower-introspect:`.
    ///
    /// All instances of a service must have the same, and no other service.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Changes the settings of the store of used proofs. Its keys start with the prefix of the tier,
    /// followed by `dpop:`.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tower_introspect_redis::RedisTier;
    ///
    /// # fn set(tier: RedisTier<redis::aio::MultiplexedConnection>) {
    /// let tier = tier.replay(|store| store.longest_proof(Duration::from_secs(60)));
    /// # let _ = tier;
    /// # }
    /// ```
    #[must_use]
    pub fn replay<F>(mut self, change: F) -> Self
    where
        F: Fn(RedisReplayStore<C>) -> RedisReplayStore<C> + Send + Sync + 'static,
    {
        self.replay = Some(Arc::new(change));
        self
    }

    /// Starts anew with no cutoffs, if all instances get another number than before. The default is 1.
    ///
    /// Cutoffs only grow. If one was told by mistake, such as one for a whole issuer, this is the way to
    /// take it back: instances with the old number do not hear those with the new one.
    #[must_use]
    pub const fn epoch(mut self, epoch: u32) -> Self {
        self.epoch = epoch;
        self
    }

    /// Refuses JWTs that are verified locally, and tokens of custom verifiers, while cutoffs may be
    /// missing, as unavailable (503).
    ///
    /// Nothing but a cutoff revokes such a token before it expires. Tokens that are introspected, and open
    /// streams of JWTs, go on.
    #[must_use]
    pub const fn require_feed(mut self) -> Self {
        self.feed.is_required = true;
        self
    }

    /// Waits until `count` replicas of Redis have a cutoff (`WAIT`), for at most `timeout`, before a logout
    /// or an event is acknowledged.
    ///
    /// A failover then loses no acknowledged cutoff, unless those replicas are lost too. The user of the
    /// connection needs `+wait`. `WAIT` holds up all commands behind it on the same connection.
    #[must_use]
    pub fn wait_for_replicas(mut self, count: u32, timeout: Duration) -> Self {
        self.feed.replicas = Some((count, timeout.min(Duration::from_secs(60))));
        self
    }

    /// Sets the time after which a logout or an event is not acknowledged because Redis does not respond.
    /// The default is 2 s.
    ///
    /// It is told later all the same.
    #[must_use]
    pub const fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.feed.flush_timeout = timeout;
        self
    }

    /// Sets the time over which facts are verified again after cutoffs may have been missed. The default
    /// is one minute.
    #[must_use]
    pub fn spread(mut self, spread: Duration) -> Self {
        self.feed.spread = spread.min(Duration::from_secs(3600));
        self
    }

    /// Sets the maximum number of cutoffs in Redis. The default is 100 000, the least is 100.
    ///
    /// If there are more, the issuer with the most of them gives up the older half of its own for one
    /// cutoff that covers all its tokens of that time.
    #[must_use]
    pub fn max_cutoffs(mut self, cutoffs: usize) -> Self {
        self.capacity = cutoffs.max(100);
        self
    }

    /// Sets the time between two messages of an instance that has nothing to tell. The default is two
    /// seconds, the least is ten milliseconds. All instances must have the same.
    ///
    /// An instance that is not heard for three and a half times as long is missed.
    #[must_use]
    pub fn heartbeat(mut self, time: Duration) -> Self {
        self.heartbeat = time.clamp(Duration::from_millis(10), Duration::from_secs(3600));
        self
    }

    /// Sets the largest difference between the clocks of two instances. The default is one minute.
    ///
    /// The cutoffs of an instance whose clock differs by more are known all the same, but its messages do
    /// not show that it is alive.
    #[must_use]
    pub fn max_clock_difference(mut self, difference: Duration) -> Self {
        self.clock_difference = difference.min(Duration::from_secs(86_400));
        self
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisTier<C> {
    /// Returns the store of used proofs, to [check](RedisReplayStore::check) it.
    #[must_use]
    pub fn proofs(&self) -> RedisReplayStore<C> {
        let store = RedisReplayStore::new(self.connection.clone());
        let store = store.prefix(format!("{}dpop:", self.prefix));
        match &self.replay {
            Some(change) => change(store),
            None => store,
        }
    }

    /// Tells the cutoffs that wait, and then that this instance ends. Then it shares no more cutoffs.
    ///
    /// Call it at the end of a process, after the last request; the resource server may be gone by then.
    /// Otherwise the other instances miss this one, and have all facts verified again. Afterwards it is
    /// [behind](tower_introspect::revocation::FeedState).
    ///
    /// # Errors
    ///
    /// Returns an error if Redis does not respond in time. It may be called again.
    pub async fn close(&self) -> Result<(), NotTold> {
        let feeds = self.feeds().clone();
        let mut outcome = Ok(());
        for feed in feeds {
            outcome = feed.close().await.and(outcome);
        }
        outcome
    }

    fn feeds(&self) -> std::sync::MutexGuard<'_, Vec<RedisFeed<C>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> SharedTier for RedisTier<C> {
    fn replay_store(&self) -> Option<Arc<dyn ReplayStore>> {
        Some(Arc::new(self.proofs()))
    }

    fn cutoff_feed(
        &self,
        local: LocalCutoffs,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn CutoffFeed>>, BoxError> {
        let settings = Settings {
            heartbeat: self.heartbeat,
            silence: self.heartbeat.mul_f64(3.5),
            merge: Self::MERGE_INTERVAL,
            clock_difference: self.clock_difference,
            capacity: self.capacity,
            lifetime: local.max_token_lifetime(),
        };
        let place = Place::new(self.prefix.clone(), self.epoch);
        let now = Moment::now(&*clock);
        let replica = Replica::new(self.secret.clone(), place, settings, now)
            .map_err(|_| "the operating system has no random bytes")?;
        let connections = (self.connection.clone(), self.waiting.clone());
        let keys = Keys::new(&self.prefix, self.epoch);
        let feed = RedisFeed::start(replica, connections, keys, local, clock, self.feed.clone())?;
        let mut feeds = self.feeds();
        // Those of resource servers that are gone.
        feeds.retain(|feed| !feed.is_over());
        feeds.push(feed.clone());
        Ok(Some(Arc::new(feed)))
    }
}

impl<C> fmt::Debug for RedisTier<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("prefix", &self.prefix)
            .field("epoch", &self.epoch)
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}
