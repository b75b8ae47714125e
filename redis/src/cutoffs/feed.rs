//! The feed of one resource server.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::aio::ConnectionLike;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::timeout,
};
use tower_introspect::{
    clock::{Clock, Moment},
    revocation::{CutoffChange, CutoffFeed, Flushing, LocalCutoffs},
};

use super::{
    commands::Keys,
    driver::{self, Driver},
    replica::Replica,
};

/// The settings of a feed.
#[derive(Clone, Debug)]
pub(crate) struct FeedSettings {
    pub(crate) flush_timeout: Duration,
    pub(crate) is_required: bool,
    pub(crate) spread: Duration,
    /// The number of replicas of Redis that must have a cutoff, and the time to wait for them.
    pub(crate) replicas: Option<(u32, Duration)>,
}

/// A feed of cutoffs through Redis.
pub(crate) struct RedisFeed<C>(pub(super) Arc<Shared<C>>);

pub(super) struct Shared<C> {
    replica: Mutex<Replica>,
    pub(super) connection: C,
    /// The connection that waits for messages, if the application gave one.
    pub(super) waiting: Option<C>,
    pub(super) keys: Keys,
    pub(super) local: LocalCutoffs,
    clock: Arc<dyn Clock>,
    pub(super) settings: FeedSettings,
    /// Wakes the task to write at once.
    pub(super) wake: Notify,
    /// The number of changes that were told.
    pub(super) told: watch::Sender<u64>,
    is_driven: AtomicBool,
    /// True if the instance ends.
    pub(super) is_closing: AtomicBool,
    /// True if it has said so.
    pub(super) has_ended: watch::Sender<bool>,
}

impl<C> Shared<C> {
    pub(super) fn replica(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    /// Returns true if the wall clock can be right. Others would take messages for old ones.
    pub(super) fn has_time(&self, now: Moment) -> bool {
        self.clock.can_be_right(now.wall())
    }

    pub(super) fn set_driven(&self, is_driven: bool) {
        self.is_driven.store(is_driven, Ordering::Release);
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisFeed<C> {
    /// Creates a feed and starts its task.
    ///
    /// # Errors
    ///
    /// Returns an error outside of a runtime.
    pub(crate) fn start(
        replica: Replica,
        connections: (C, Option<C>),
        keys: Keys,
        local: LocalCutoffs,
        clock: Arc<dyn Clock>,
        settings: FeedSettings,
    ) -> Result<Self, NoRuntime> {
        let (connection, waiting) = connections;
        let shared = Shared {
            replica: Mutex::new(replica),
            connection,
            waiting,
            keys,
            local,
            clock,
            settings,
            wake: Notify::new(),
            told: watch::Sender::new(0),
            is_driven: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            has_ended: watch::Sender::new(false),
        };
        let feed = Self(Arc::new(shared));
        if feed.drive() { Ok(feed) } else { Err(NoRuntime) }
    }

    /// Returns true if the resource server is gone, and everything was told.
    pub(crate) fn is_over(&self) -> bool {
        self.0.local.is_gone() && !self.0.replica().has_untold()
    }

    /// Starts the task, unless there is one or the feed is closed. The runtime of an earlier one may have
    /// ended.
    fn drive(&self) -> bool {
        !self.0.is_closing.load(Ordering::Acquire) && self.start_task()
    }

    fn start_task(&self) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        if !self.0.is_driven.swap(true, Ordering::AcqRel) {
            runtime.spawn(driver::drive(Driver::new(&self.0)));
        }
        true
    }

    /// Tells what waits, and then that this instance ends, so that the others do not miss it.
    pub(crate) async fn close(&self) -> Result<(), NotTold> {
        // The outcome is seen at the end.
        let _ = self.flush_all().await;
        self.0.is_closing.store(true, Ordering::Release);
        self.0.wake.notify_one();
        let mut ended = self.0.has_ended.subscribe();
        if !*ended.borrow() {
            // The task has ended by itself if the resource server is gone.
            self.start_task();
        }
        let ended = timeout(self.0.settings.flush_timeout, ended.wait_for(|ended| *ended)).await;
        let is_told = !self.0.replica().has_untold();
        if ended.is_ok() && is_told { Ok(()) } else { Err(NotTold) }
    }

    fn flush_all(&self) -> impl Future<Output = Result<(), NotTold>> + Send + use<C> {
        let is_open = self.drive();
        let shared = Arc::clone(&self.0);
        let target = shared.replica().outbox.count();
        async move {
            if *shared.told.borrow() >= target {
                return Ok(());
            }
            if !is_open {
                return Err(NotTold);
            }
            let mut told = shared.told.subscribe();
            let all = told.wait_for(|told| *told >= target);
            match timeout(shared.settings.flush_timeout, all).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(NotTold),
            }
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> CutoffFeed for RedisFeed<C> {
    fn publish(&self, change: CutoffChange) {
        self.0.replica().publish(&change);
        self.0.wake.notify_one();
        self.drive();
    }

    fn flush(&self) -> Flushing {
        let flushed = self.flush_all();
        Box::pin(async move { Ok(flushed.await?) })
    }

    fn is_required(&self) -> bool {
        self.0.settings.is_required
    }
}

impl<C> Clone for RedisFeed<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for RedisFeed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisFeed").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// The other instances could not be told in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotTold;

impl fmt::Display for NotTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other instances could not be told in time, because Redis did not respond")
    }
}

impl Error for NotTold {}

/// There is no runtime for the task of a feed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoRuntime;

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cutoffs are shared by a task: build the resource server in a tokio runtime")
    }
}

impl Error for NoRuntime {}
