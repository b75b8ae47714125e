//! Sharing with the other instances of a service.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_introspect::{
    BoxError,
    clock::Clock,
    proof::ReplayStore,
    resource_server::SharedTier,
    revocation::{CutoffChange, CutoffFeed, Flushing, LocalCutoffs},
};

mod cutoffs;
mod doubt;
mod required;
mod state;
mod tier;

const SEC: Duration = Duration::from_secs(1);

/// The reason of a doubt.
const REASON: &str = "missed";

/// A feed that the test controls. Clones are the same feed.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestFeed(Arc<FeedParts>);

#[derive(Debug, Default)]
struct FeedParts {
    published: Mutex<Vec<CutoffChange>>,
    /// The number of changes that were published before the last flush began.
    flushed: AtomicUsize,
    flushing: AtomicU8,
    is_required: bool,
}

/// The outcome of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flush {
    Succeeds = 0,
    Fails = 1,
    Hangs = 2,
}

impl TestFeed {
    /// Creates a feed that JWTs depend on.
    pub(crate) fn required() -> Self {
        Self(Arc::new(FeedParts { is_required: true, ..FeedParts::default() }))
    }

    /// Sets what every flush does from now on. At first it succeeds.
    pub(crate) fn set_flush(&self, flush: Flush) {
        self.0.flushing.store(flush as u8, Ordering::SeqCst);
    }

    /// Returns each change that was published: whether it revokes, its kind and its value.
    pub(crate) fn published(&self) -> Vec<(bool, &'static str, String)> {
        let published = self.0.published.lock().unwrap();
        let seen = published.iter().map(|change| {
            let cutoff = change.cutoff();
            let revokes = matches!(change, CutoffChange::Revoke(_));
            (revokes, cutoff.kind(), cutoff.value().unwrap_or_default().to_owned())
        });
        seen.collect()
    }

    /// Returns how many changes had been published when the last flush began.
    pub(crate) fn flushed(&self) -> usize {
        self.0.flushed.load(Ordering::SeqCst)
    }

    fn last(&self) -> CutoffChange {
        self.0.published.lock().unwrap().last().unwrap().clone()
    }
}

impl CutoffFeed for TestFeed {
    fn publish(&self, change: CutoffChange) {
        self.0.published.lock().unwrap().push(change);
    }

    fn flush(&self) -> Flushing {
        let published = self.0.published.lock().unwrap().len();
        self.0.flushed.store(published, Ordering::SeqCst);
        let flush = self.0.flushing.load(Ordering::SeqCst);
        Box::pin(async move {
            if flush == Flush::Hangs as u8 {
                std::future::pending::<()>().await;
            }
            if flush == Flush::Fails as u8 { Err("the tier is away".into()) } else { Ok(()) }
        })
    }

    fn is_required(&self) -> bool {
        self.0.is_required
    }
}

/// A tier with the parts that a test gives it.
#[derive(Default)]
struct TestTier {
    store: Option<Arc<dyn ReplayStore>>,
    make_feed: Option<Box<MakeFeed>>,
}

type MakeFeed = dyn Fn(LocalCutoffs, Arc<dyn Clock>) -> MadeFeed + Send + Sync;

type MadeFeed = Result<Option<Arc<dyn CutoffFeed>>, BoxError>;

impl TestTier {
    fn with_store(store: Arc<dyn ReplayStore>) -> Self {
        Self { store: Some(store), ..Self::default() }
    }

    fn with_feed(
        make: impl Fn(LocalCutoffs, Arc<dyn Clock>) -> MadeFeed + Send + Sync + 'static,
    ) -> Self {
        Self { make_feed: Some(Box::new(make)), ..Self::default() }
    }
}

impl SharedTier for TestTier {
    fn replay_store(&self) -> Option<Arc<dyn ReplayStore>> {
        self.store.clone()
    }

    fn cutoff_feed(&self, local: LocalCutoffs, clock: Arc<dyn Clock>) -> MadeFeed {
        self.make_feed.as_ref().map_or(Ok(None), |make| make(local, clock))
    }
}

/// A tier that joins resource servers in one process. Clones are the same tier.
#[derive(Clone, Default)]
struct Bus(Arc<BusParts>);

#[derive(Default)]
struct BusParts {
    members: Mutex<Vec<LocalCutoffs>>,
    published: AtomicUsize,
}

impl Bus {
    fn published(&self) -> usize {
        self.0.published.load(Ordering::SeqCst)
    }
}

impl SharedTier for Bus {
    fn cutoff_feed(&self, local: LocalCutoffs, _: Arc<dyn Clock>) -> MadeFeed {
        let mut members = self.0.members.lock().unwrap();
        members.push(local);
        Ok(Some(Arc::new(Member { bus: self.clone(), own: members.len() - 1 })))
    }
}

/// The feed of one of the members.
struct Member {
    bus: Bus,
    own: usize,
}

impl CutoffFeed for Member {
    fn publish(&self, change: CutoffChange) {
        let published = self.bus.0.published.fetch_add(1, Ordering::SeqCst);
        assert!(published < 100, "changes are published again");
        let members = self.bus.0.members.lock().unwrap().clone();
        for (at, member) in members.iter().enumerate() {
            if at != self.own {
                member.apply(&change);
            }
        }
    }

    fn flush(&self) -> Flushing {
        Box::pin(async { Ok(()) })
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("own", &self.own).finish_non_exhaustive()
    }
}
