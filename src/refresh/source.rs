//! The source of a value that is fetched and renewed.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Moment,
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// A source of values.
pub(crate) trait Source: Send + Sync + 'static {
    type Value: Send + Sync + 'static;

    /// Fetches the value in bounded time. `last` is the value of the previous fetch.
    fn fetch(
        &self,
        last: Option<Arc<Self::Value>>,
    ) -> impl Future<Output = Result<Fetched<Self::Value>, VerifyError>> + Send;

    /// Fetches the value for a request that the last value does not serve.
    fn fetch_on_demand(
        &self,
        last: Option<Arc<Self::Value>>,
    ) -> impl Future<Output = Result<Fetched<Self::Value>, VerifyError>> + Send {
        self.fetch(last)
    }

    /// Returns how long before its fetch the value was made, if a cache on the way kept it.
    fn age(_value: &Self::Value) -> Duration {
        Duration::ZERO
    }

    /// Returns true if `value` has anything that `before` lacks.
    fn has_news(_value: &Self::Value, _before: &Self::Value) -> bool {
        true
    }

    /// Returns the value that replaces `before`, given the fetched `value`.
    ///
    /// It is called for one value after the other, right before each takes effect. A caller that
    /// sees the new value also sees the effects of this function.
    fn successor(value: Arc<Self::Value>, _before: &Self::Value) -> Arc<Self::Value> {
        value
    }
}

/// The result of a successful fetch.
pub(crate) struct Fetched<T> {
    pub(crate) value: Arc<T>,
    /// The time for which the value needs no new fetch.
    pub(crate) fresh_for: Duration,
}

/// The state of a [`Refresher`](super::refresher::Refresher): its value and its failures.
pub(crate) struct RefreshState<T> {
    /// The value, if it may be used, and the time when it was fetched.
    pub(crate) value: Option<(Arc<T>, Moment)>,
    /// The time when the value was fetched, even if it is too old to be used.
    pub(crate) fetched_at: Option<Moment>,
    /// The kind of the last failure, and the time of the first one in the current series.
    pub(crate) failing: Option<(ErrorKind, Moment)>,
}
