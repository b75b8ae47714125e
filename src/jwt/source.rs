use std::{fmt, pin::Pin, sync::Arc};

use super::KeySet;
use crate::{
    clock::Moment,
    error::{ErrorKind, VerifyError},
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

    /// The keys, fetched anew because none of them is the key `kid` (empty where a token names
    /// none); `None` if that was tried too often or too recently.
    fn refresh_for(&self, kid: &str) -> Option<Fetching>;

    /// Whether there are keys that may be used, and what is wrong since when. Fetches nothing.
    fn standing(&self) -> (bool, Option<(ErrorKind, Moment)>);
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
