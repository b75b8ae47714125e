//! The handle of a feed on the cutoffs of this instance.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    change::CutoffChange,
    feed::{CutoffFeed, FeedState},
    revocations::Revocations,
    state::RevocationState,
};
use crate::{
    error::{boxed::BoxError, config::ConfigError},
    telemetry::feed::{feed_doubt, feed_failure, feed_foreign, feed_state},
};

/// The cutoffs of this instance, for a feed that learns those of others.
///
/// It does not keep the [`Revocations`] alive that it belongs to. Clones belong to the same ones.
#[derive(Clone)]
pub struct LocalCutoffs(Weak<RevocationState>);

impl LocalCutoffs {
    /// Applies a change that another instance published. It is not published again.
    ///
    /// Facts that were established before this call are judged as outdated, whenever the change was
    /// published.
    pub fn apply(&self, change: &CutoffChange) {
        if let Some(state) = self.0.upgrade() {
            match change {
                CutoffChange::Revoke(cutoff) => state.revoke_as_told(cutoff),
                CutoffChange::Outdate(cutoff) => state.outdate(cutoff),
            }
        }
    }

    /// Outdates all facts that were established before this call, because a cutoff may have been
    /// missed. JWTs that are verified locally still stand.
    ///
    /// The tokens are verified again over the time `spread`, so that the authorization servers are not
    /// asked about all of them at once. The spread of a call before that time is over begins at its end.
    /// `reason` is for events and metrics.
    pub fn doubt(&self, reason: &'static str, spread: Duration) {
        if let Some(state) = self.0.upgrade() {
            feed_doubt(reason);
            state.doubt(spread);
        }
    }

    /// Reports that the tier holds cutoffs that are not from this service: somebody else writes to it.
    pub fn note_foreign(&self, count: u64) {
        feed_foreign(count);
    }

    /// Reports that the feed can't reach the other instances, for a reason in words of the feed.
    pub fn note_failure(&self, reason: &'static str) {
        feed_failure(reason);
    }

    /// Returns the longest lifetime of a token, if it is
    /// [limited](Revocations::max_token_lifetime). A cutoff ends when every token that it covers has
    /// expired.
    #[must_use]
    pub fn max_token_lifetime(&self) -> Option<Duration> {
        self.0.upgrade()?.max_token_lifetime
    }

    /// Outdates all facts that were established before this call, at once and without an event. A feed calls
    /// it when it has read the cutoffs of the others for the first time.
    pub fn start(&self) {
        if let Some(state) = self.0.upgrade() {
            state.doubt(Duration::ZERO);
        }
    }

    /// Sets the state of the feed. At first it is [`Behind`](FeedState::Behind).
    pub fn set_state(&self, state: FeedState) {
        if let Some(revocations) = self.0.upgrade()
            && revocations.set_feed_state(state)
        {
            feed_state(state == FeedState::Current);
        }
    }

    /// Returns true if the [`Revocations`] are gone, so that the feed may end.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl fmt::Debug for LocalCutoffs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCutoffs").finish_non_exhaustive()
    }
}

/// Sharing cutoffs with other instances.
impl Revocations {
    /// Connects a feed, to which every cutoff is told from now on.
    ///
    /// # Errors
    ///
    /// Returns an error if a feed was connected before.
    pub fn connect(&self, feed: Arc<dyn CutoffFeed>) -> Result<(), ConfigError> {
        self.0.connect(feed)
    }

    /// Returns the handle by which a feed applies what it learns.
    #[must_use]
    pub fn local(&self) -> LocalCutoffs {
        LocalCutoffs(Arc::downgrade(&self.0))
    }

    /// Returns the state of the feed, or `None` if there is none.
    #[must_use]
    pub fn feed_state(&self) -> Option<FeedState> {
        self.0.feed_state()
    }

    /// Waits until every other instance can learn of all cutoffs that were added before this call.
    ///
    /// Without a feed it returns at once.
    ///
    /// # Errors
    ///
    /// Returns an error if that takes too long. The cutoffs hold in this instance, and are told later.
    ///
    /// # Cancellation
    ///
    /// Dropping the future only stops the waiting.
    ///
    /// ```
    /// use tower_introspect::revocation::{Cutoff, Revocations};
    ///
    /// # tokio_test::block_on(async {
    /// let revocations = Revocations::new();
    /// revocations.revoke(&Cutoff::subject("https://as.example.com", "alice"));
    /// revocations.flush().await?;
    /// # Ok::<(), tower_introspect::BoxError>(()) }).unwrap();
    /// ```
    pub async fn flush(&self) -> Result<(), BoxError> {
        match self.0.feed() {
            Some(feed) => feed.flush().await,
            None => Ok(()),
        }
    }
}
