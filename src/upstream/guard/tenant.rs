//! The state of one issuer and client at an origin.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    canaries::Turn,
    circuit::Circuit,
    overload::Overload,
    question::{Failed, Verdict},
    recent::{Id, KnownShare, KnownTokens, LastOutcomes, Time},
};
use crate::{error::failure::Failure, telemetry::server_state::ServerState};

/// The settings of one issuer and client.
#[derive(Debug)]
pub(super) struct TenantSettings {
    /// The time limit of a question.
    pub(super) timeout: Duration,
    /// The number of tokens that are kept as known to be good.
    pub(super) known_tokens: Arc<KnownShare>,
    /// True if the canary is a token of the service's own, which reaches as deep into the server as
    /// the token of a client.
    pub(super) has_own_canary: bool,
}

#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) settings: TenantSettings,
    pub(super) circuit: Circuit,
    pub(super) overload: Overload,
    pub(super) known: KnownTokens,
    /// The last outcomes of known tokens, by subject.
    pub(super) subjects: LastOutcomes,
    /// The same, with only refusals for overload as failures.
    pub(super) refused: LastOutcomes,
    /// The token that was refused for overload last, and when.
    pub(super) refused_last: Option<(Id, Time)>,
    /// True if the server has ever answered about a token, of a client or of this service.
    pub(super) has_answered: bool,
    /// When the last question about a known token that got an answer was asked.
    pub(super) known_answered: Option<Time>,
    /// Failed questions that wait for a canary.
    pub(super) waiting: Vec<(Failed, oneshot::Sender<Verdict>)>,
    pub(super) canary: Canary,
}

/// The canaries of one issuer and client.
#[derive(Debug, Default)]
pub(super) struct Canary {
    /// Its place in the order of the origin.
    pub(super) turn: Option<Turn>,
    /// When the canary under way was sent.
    pub(super) under_way: Option<Time>,
    pub(super) last_sent: Option<Time>,
    /// The number of canaries sent.
    pub(super) sent: u64,
    /// The earliest time for the next.
    pub(super) not_before: Time,
    /// True if failures of tokens can be judged by canaries, because one has succeeded before.
    pub(super) judges: bool,
    /// The number of failures in a row.
    pub(super) failures: u32,
    /// When the first of the failures in a row was sent, overload aside.
    pub(super) failing_since: Option<Time>,
    /// When one succeeded again after a failure.
    pub(super) recovered: Option<Time>,
    /// When the last one that succeeded was sent.
    pub(super) last_success: Option<Time>,
    /// How the last one failed, if it did.
    pub(super) last_failure: Option<Failure>,
    pub(super) server: ServerState,
}

impl Tenant {
    pub(super) fn new(settings: TenantSettings) -> Self {
        settings.known_tokens.add_tenant();
        Self {
            settings,
            circuit: Circuit::default(),
            overload: Overload::default(),
            known: KnownTokens::default(),
            subjects: LastOutcomes::default(),
            refused: LastOutcomes::default(),
            refused_last: None,
            has_answered: false,
            known_answered: None,
            waiting: Vec::new(),
            canary: Canary::default(),
        }
    }

    /// Returns true if the credentials of this service are rejected, not one token: the last canary
    /// failed in the same way.
    pub(super) fn rejects_us(&self, failure: Failure) -> bool {
        failure == Failure::RejectsUs && self.canary.last_failure == Some(Failure::RejectsUs)
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.settings.known_tokens.remove_tenant();
    }
}
