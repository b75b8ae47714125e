//! The source of an issuer's keys: fetched, or configured.

use std::{fmt, pin::Pin, sync::Arc};

use super::keys::KeySet;
use crate::{
    clock::Moment,
    error::{kind::ErrorKind, refusal::VerifyError},
    transport::calls::LastCall,
    verify::readiness::Readiness,
};

/// A fetch of keys that is under way.
pub(crate) type Fetching = Pin<Box<dyn Future<Output = Result<Arc<KeySet>, VerifyError>> + Send>>;

/// A source that fetches the keys of an issuer.
pub(crate) trait FetchKeys: Send + Sync + 'static {
    /// Returns the keys that may be used now, without waiting.
    fn snapshot(&self) -> Option<Arc<KeySet>>;

    /// Returns the keys, after fetching them if there are none.
    ///
    /// An error means that there are no keys to verify a token with, which is not the client's
    /// fault. Dropping the future does not stop the fetch.
    fn load(&self) -> Fetching;

    /// Starts to fetch the keys if there are none, without waiting.
    fn start_fetching(&self);

    /// Fetches the keys anew because none of them has the name `kid` (empty if the token names no
    /// key). Returns `None` if that was tried too often or too recently.
    fn refresh_for(&self, kid: &str) -> Option<Fetching>;

    /// Returns the state of the keys. Fetches nothing.
    fn state(&self) -> KeysState;
}

/// The state of the keys of an issuer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeysState {
    /// True if there are keys that may be used.
    pub(crate) ready: bool,
    /// The current failure, and when it began.
    pub(crate) failing: Option<(ErrorKind, Moment)>,
    /// The time of the last successful fetch.
    pub(crate) fetched_at: Option<Moment>,
    /// The number of `kid`s that recent fetches did not find.
    pub(crate) unknown: usize,
    /// The last call that ended: for the keys, or for the metadata that names their URL.
    pub(crate) last_call: Option<LastCall>,
}

impl KeysState {
    /// Returns the readiness of `issuer` with keys in this state.
    fn readiness(&self, issuer: Arc<str>) -> Readiness {
        Readiness::new(issuer, self.ready, self.failing)
            .with_keys(self.fetched_at, self.unknown)
            .with_last_call(self.last_call)
    }
}

/// The source of the keys of an issuer.
pub(crate) enum KeySource {
    Remote(Arc<dyn FetchKeys>),
    Static(Arc<KeySet>),
}

impl KeySource {
    /// Starts to fetch the keys if there are none, without waiting.
    pub(crate) fn start_fetching(&self) {
        if let Self::Remote(keys) = self {
            keys.start_fetching();
        }
    }

    /// Returns the readiness of `issuer` with these keys.
    pub(crate) fn readiness(&self, issuer: &Arc<str>) -> Readiness {
        let issuer = Arc::clone(issuer);
        match self {
            Self::Remote(keys) => keys.state().readiness(issuer),
            Self::Static(_) => Readiness::always_ready(issuer),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(_) => f.write_str("Remote"),
            Self::Static(keys) => f.debug_tuple("Static").field(keys).finish(),
        }
    }
}
