//! The settings of the layer apart from verifier, policy and responder.

use std::sync::Arc;

use super::forward::headers::ForwardHeaders;
#[cfg(feature = "_crypto")]
use crate::lease::leases::Lessor;
use crate::{
    credentials::{extract::Extractor, head::RequestHead},
    verify::{peer::PeerFn, request::Freshness},
};

/// The settings of a layer apart from its verifier, policy and responder.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) extractor: Extractor,
    pub(super) optional: bool,
    pub(super) exempt: Option<Arc<ExemptFn>>,
    pub(super) freshness: Arc<FreshnessFn>,
    pub(super) peer: Option<Arc<PeerFn>>,
    pub(super) forward: Option<Arc<ForwardHeaders>>,
    pub(super) remove_credentials: bool,
    pub(super) log_subjects: bool,
    /// Set if a lease is opened for each admitted request.
    #[cfg(feature = "_crypto")]
    pub(super) leases: Option<Lessor>,
}

type ExemptFn = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;

type FreshnessFn = dyn Fn(RequestHead<'_>) -> Freshness + Send + Sync;
