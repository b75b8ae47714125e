//! The source of an issuer's keys: fetched, or configured.

use std::{fmt, sync::Arc};

use super::{keys::KeySet, remote_keys::RemoteKeys};
use crate::verify::readiness::Readiness;

/// The source of the keys of an issuer.
pub(crate) enum KeySource {
    Remote(RemoteKeys),
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
            Self::Remote(keys) => keys.readiness(issuer),
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
