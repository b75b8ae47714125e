//! Settings that only a program can make, not a file.

#[cfg(feature = "mtls")]
use std::sync::Arc;

#[cfg(feature = "mtls")]
use super::mtls::AddressOf;
#[cfg(feature = "dpop")]
use crate::proof::dpop::settings::Dpop;
#[cfg(feature = "mtls")]
use crate::proof::mtls::settings::Mtls;

/// The changes and the functions of requests that a program sets.
#[derive(Default)]
pub(super) struct Program {
    #[cfg(feature = "dpop")]
    pub(super) dpop: Vec<Box<Change<Dpop>>>,
    #[cfg(feature = "mtls")]
    pub(super) mtls: Vec<Box<Change<Mtls>>>,
    #[cfg(feature = "mtls")]
    pub(super) peer_address: Option<Arc<AddressOf>>,
}

type Change<T> = dyn Fn(T) -> T + Send + Sync;

impl Program {
    #[cfg(feature = "dpop")]
    pub(super) fn dpop(&self, dpop: Dpop) -> Dpop {
        self.dpop.iter().fold(dpop, |dpop, change| change(dpop))
    }

    #[cfg(feature = "mtls")]
    pub(super) fn mtls(&self, mtls: Mtls) -> Mtls {
        self.mtls.iter().fold(mtls, |mtls, change| change(mtls))
    }

    #[cfg(feature = "mtls")]
    pub(super) const fn peer_address(&self) -> Option<&Arc<AddressOf>> {
        self.peer_address.as_ref()
    }
}
