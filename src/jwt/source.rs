use std::{fmt, pin::Pin, sync::Arc};

use super::keys::KeySet;
use crate::{
    clock::Moment,
    error::{kind::ErrorKind, refusal::VerifyError},
    transport::upstream::LastCall,
    verify::readiness::Readiness,
};

/// Keys under way.
pub(crate) type Fetching = Pin<Box<dyn Future<Output = Result<Arc<KeySet>, VerifyError>> + Send>>;

/// Keys that are fetched from the issuer.
pub(crate) trait FetchKeys: Send + Sync + 'static {
    /// The keys that may be used now. Never waits.
    fn snapshot(&self) -> Option<Arc<KeySet>>;

    /// The keys, fetched if there are none.
    ///
    /// An error means that there is nothing to hold a token against, which is not the fault of
    /// whoever sent it. Dropping the future does not stop the fetch.
    fn load(&self) -> Fetching;

    /// Starts to fetch the keys if there are none. Never waits.
    fn begin(&self);

    /// The keys, fetched anew because none of them is the key `kid` (empty where a token names
    /// none); `None` if that was tried too often or too recently.
    fn refresh_for(&self, kid: &str) -> Option<Fetching>;

    /// How things stand. Fetches nothing.
    fn standing(&self) -> KeysStanding;
}

/// How things stand with the keys of an issuer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeysStanding {
    /// Whether there are keys that may be used.
    pub(crate) ready: bool,
    /// What is wrong since when.
    pub(crate) failing: Option<(ErrorKind, Moment)>,
    /// When the last ones were fetched.
    pub(crate) fetched_at: Option<Moment>,
    /// How many names of keys were looked for in vain, of late.
    pub(crate) unknown: usize,
    /// What came of the last call, for the keys or for the metadata that tells where they are.
    pub(crate) last: Option<LastCall>,
}

impl KeysStanding {
    /// What that means for the tokens of the issuer.
    pub(crate) fn readiness(&self, issuer: Arc<str>) -> Readiness {
        Readiness::new(issuer, self.ready, self.failing)
            .with_keys(self.fetched_at, self.unknown)
            .with_last(self.last)
    }
}

/// Where the keys of an issuer come from.
pub(super) enum Source {
    Remote(Arc<dyn FetchKeys>),
    Static(Arc<KeySet>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(_) => f.write_str("Remote"),
            Self::Static(keys) => f.debug_tuple("Static").field(keys).finish(),
        }
    }
}
