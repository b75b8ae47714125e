//! Settings that only a program can make, not a file.

#[cfg(feature = "mtls")]
use std::sync::Arc;

#[cfg(feature = "mtls")]
use super::mtls::AddressFn;
#[cfg(feature = "dpop")]
use crate::proof::dpop::settings::Dpop;
#[cfg(feature = "mtls")]
use crate::proof::mtls::settings::Mtls;

/// The changes and the functions of requests that a program sets.
#[derive(Default)]
pub(super) struct ProgramHooks {
    #[cfg(feature = "dpop")]
    pub(super) dpop: Vec<Box<Configure<Dpop>>>,
    #[cfg(feature = "mtls")]
    pub(super) mtls: Vec<Box<Configure<Mtls>>>,
    #[cfg(feature = "mtls")]
    pub(super) peer_address: Option<Arc<AddressFn>>,
}

type Configure<T> = dyn Fn(T) -> T + Send + Sync;

impl ProgramHooks {
    #[cfg(feature = "dpop")]
    pub(super) fn dpop(&self, dpop: Dpop) -> Dpop {
        self.dpop.iter().fold(dpop, |dpop, change| change(dpop))
    }

    #[cfg(feature = "mtls")]
    pub(super) fn mtls(&self, mtls: Mtls) -> Mtls {
        self.mtls.iter().fold(mtls, |mtls, change| change(mtls))
    }

    #[cfg(feature = "mtls")]
    pub(super) const fn peer_address(&self) -> Option<&Arc<AddressFn>> {
        self.peer_address.as_ref()
    }
}
