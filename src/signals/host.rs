//! The parts of a resource server that receivers of signals need.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use http::Request;

use super::{intake::Intake, issuers::Issuers, liveness::Liveness, settling::Settling};
use crate::{
    clock::Clock,
    credentials::head::RequestHead,
    refresh::asker::Asker,
    telemetry::{signal_state::SignalState, signals::Receiver},
    verify::peer::PeerFn,
};

/// The parts of a resource server that receivers of signals need.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) issuers: Arc<dyn Issuers>,
    pub(crate) settling: Settling,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) peer: Option<Arc<PeerFn>>,
    pub(crate) receivers: Receivers,
}

impl Host {
    /// Returns the peer that sent a request.
    pub(super) fn asker<B>(&self, request: &Request<B>) -> Asker {
        let key = self.peer.as_ref().and_then(|peer| peer(RequestHead::of(request)));
        Asker::peer(key)
    }

    /// Creates the intake of a receiver, and adds it to those of this resource server.
    pub(super) fn intake(&self, receiver: Receiver, liveness: Liveness) -> Arc<Intake> {
        let (settling, clock) = (self.settling.clone(), Arc::clone(&self.clock));
        let intake = Arc::new(Intake::new(receiver, settling, liveness, clock));
        self.receivers.add(&intake);
        intake
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// The receivers of one resource server that are in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receivers(Arc<Mutex<Vec<Weak<Intake>>>>);

impl Receivers {
    fn add(&self, intake: &Arc<Intake>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(intake));
    }

    /// Returns the worst state of all receivers for the tokens of an issuer, or `None` if none of them can
    /// tell.
    pub(crate) fn state_for(&self, issuer: &str) -> Option<SignalState> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = all.iter().filter_map(Weak::upgrade);
        alive.filter_map(|intake| intake.liveness().state_for(issuer)).max()
    }

    /// Returns true if none is in use.
    pub(crate) fn is_empty(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().all(|receiver| receiver.strong_count() == 0)
    }

    /// Returns the number of signals that wait for keys.
    pub(crate) fn pending(&self) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).map(|intake| intake.pending()).sum()
    }
}
