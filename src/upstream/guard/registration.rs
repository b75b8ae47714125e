//! The state of one registration: this service as a client of one issuer.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    breaker::Breaker,
    canaries::Turn,
    introspection::{Failed, Judgement},
    overload::Overload,
    recent::{Id, KnownTokens, KnownTokensLimit, LastOutcomes, Time},
};
use crate::{error::failure::Failure, telemetry::server_state::ServerState};

/// The settings of one registration.
#[derive(Debug)]
pub(super) struct RegistrationSettings {
    /// The time limit of an introspection.
    pub(super) timeout: Duration,
    /// The number of known tokens that are kept.
    pub(super) known_tokens: Arc<KnownTokensLimit>,
}

#[derive(Debug)]
pub(super) struct Registration {
    pub(super) settings: RegistrationSettings,
    pub(super) breaker: Breaker,
    pub(super) overload: Overload,
    pub(super) known: KnownTokens,
    /// The last outcomes of known tokens, by subject.
    pub(super) subjects: LastOutcomes,
    /// The last outcomes of known tokens, by subject. Only `Failure::Overloaded` counts as a
    /// failure.
    pub(super) overloads: LastOutcomes,
    /// The last token that the server was overloaded for, and when it responded so.
    pub(super) last_overload: Option<(Id, Time)>,
    /// True if the server has ever responded about a token, of a client or of this service.
    pub(super) has_responded: bool,
    /// When the last introspection of a known token that got a response was sent.
    pub(super) last_known_sent: Option<Time>,
    /// Failed introspections that wait for a canary.
    pub(super) waiting: Vec<(Failed, oneshot::Sender<Judgement>)>,
    pub(super) canary: Canary,
}

/// The canaries of one registration.
#[derive(Debug, Default)]
pub(super) struct Canary {
    /// Its place in the order of the origin.
    pub(super) turn: Option<Turn>,
    /// When the canary under way was sent.
    pub(super) under_way_since: Option<Time>,
    pub(super) last_sent: Option<Time>,
    /// The number of canaries sent.
    pub(super) sent: u64,
    /// The earliest time for the next.
    pub(super) not_before: Time,
    /// True if failures can be judged by canaries, because one has succeeded before.
    pub(super) can_judge: bool,
    /// The number of failures in a row.
    pub(super) failures: u32,
    /// When the first of the failures in a row was sent, overload aside.
    pub(super) failing_since_sent: Option<Time>,
    /// When one succeeded after a failure. It is the end of that canary, because failures up to then
    /// belong to the outage.
    pub(super) recovered_at: Option<Time>,
    /// When the last one that succeeded was sent.
    pub(super) last_success_sent: Option<Time>,
    /// How the last one failed, if it did.
    pub(super) last_failure: Option<Failure>,
    /// The state in which the last one found the server.
    pub(super) found: ServerState,
}

impl Registration {
    pub(super) fn new(settings: RegistrationSettings) -> Self {
        settings.known_tokens.add_registration();
        Self {
            settings,
            breaker: Breaker::default(),
            overload: Overload::default(),
            known: KnownTokens::default(),
            subjects: LastOutcomes::default(),
            overloads: LastOutcomes::default(),
            last_overload: None,
            has_responded: false,
            last_known_sent: None,
            waiting: Vec::new(),
            canary: Canary::default(),
        }
    }

    /// Returns true if the credentials of this service are rejected, not one token: the last canary
    /// failed in the same way.
    pub(super) fn rejects_credentials(&self, failure: Failure) -> bool {
        failure == Failure::RejectsCredentials
            && self.canary.last_failure == Some(Failure::RejectsCredentials)
    }

    /// Returns the judgement of a failure that no canary judges.
    pub(super) fn unjudged(&self, failure: Failure) -> Judgement {
        if self.rejects_credentials(failure) {
            Judgement::RejectsCredentials
        } else {
            Judgement::NotTokenAtFault { allows_stale: true, charges_peer: false }
        }
    }

    /// Returns the judgement of a failure after a canary that was sent later has ended.
    pub(super) fn judge(&self, failed: &Failed) -> Judgement {
        let canary = &self.canary;
        let in_outage = canary.recovered_at.is_some_and(|at| failed.sent_at < at);
        if canary.last_failure.is_some() || in_outage || !canary.can_judge {
            return self.unjudged(failed.failure);
        }
        // A known token is refused only if the server calls it inactive, not by an error response.
        let is_invalid =
            failed.failure == Failure::InvalidToken && !failed.introspection.is_known();
        Judgement::TokenAtFault { is_invalid }
    }

    /// Notes a response about a known token. If a canary failed that was sent before, canaries err.
    pub(super) fn note_response_about_known(&mut self, sent_at: Time) {
        self.last_known_sent = self.last_known_sent.max(Some(sent_at));
        if self.canary.failing_since_sent.is_some_and(|since| sent_at > since) {
            self.canary.can_judge = false;
        }
    }

    /// Notes that the server was overloaded for a token. Returns true if it was so for the same token
    /// the last time, and a canary has succeeded since.
    pub(super) fn is_lone_overload(&mut self, token: Id, now: Time) -> bool {
        let last = self.last_overload.replace((token, now));
        let success = self.canary.last_success_sent;
        last.is_some_and(|(of, at)| of == token && success.is_some_and(|sent| sent > at))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.settings.known_tokens.remove_registration();
    }
}
