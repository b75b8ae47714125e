//! The health of one origin: which introspections may be sent, and what follows from their results.
//!
//! It does no I/O and reads no clock. Each method takes the time as an argument, so that tests can
//! step through the rules.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{
    breaker::Breaker,
    canaries::Turns,
    introspection::{
        Failed, Introspection, IntrospectionResult, Judgement, Refusal, RegistrationId,
    },
    peers::Peers,
    permits::Permits,
    recent::{Id, KNOWN_FOR, LastOutcomes, Time},
    registration::{Registration, RegistrationSettings},
};
use crate::{error::failure::Failure, verify::peer::PeerKey};

#[derive(Debug)]
pub(super) struct Health {
    /// The breaker of the origin.
    pub(super) breaker: Breaker,
    /// A registration is here as long as its guard. Only a canary can outlive it, so the methods for
    /// introspections always find theirs.
    pub(super) registrations: HashMap<RegistrationId, Registration>,
    /// The last outcomes of known tokens, by registration.
    pub(super) registration_outcomes: LastOutcomes,
    pub(super) turns: Turns,
    pub(super) permits: Permits,
    pub(super) peers: Peers,
    /// The introspections of known tokens that are under way.
    pub(super) known_under_way: HashMap<u64, KnownUnderWay>,
    /// The times of the last failed connections.
    pub(super) failed_connections: Vec<Time>,
    /// When the server last responded to anything.
    pub(super) responded_at: Option<Time>,
    /// When a token of any registration was last called active.
    last_active: Option<Time>,
    count: u64,
    /// The seed of random pauses.
    pub(super) seed: u64,
}

/// An introspection of a known token that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownUnderWay {
    pub(super) registration: RegistrationId,
    pub(super) subject: Id,
    pub(super) sent_at: Time,
}

/// The decision whether an introspection may be sent.
#[derive(Debug)]
pub(super) enum PermitDecision {
    Refused(Refusal),
    Granted,
    /// A permit will follow, unless the introspection leaves the queue before.
    Waiting(oneshot::Receiver<()>),
}

/// The consequence of a result for the request that waits for it.
#[derive(Debug)]
pub(super) enum Conclusion {
    /// The outcome stands: the server decided about the token, or this service failed before it sent
    /// anything.
    Final,
    Judged(Judgement),
    /// A canary decides.
    Waiting(oneshot::Receiver<Judgement>),
}

/// The judgement of a failure that no canary judged in time.
pub(super) const NOT_JUDGED: Judgement =
    Judgement::NotTokenAtFault { allows_stale: false, charges_peer: false };

impl Health {
    pub(super) fn new(permits: usize, seed: u64) -> Self {
        Self {
            breaker: Breaker::default(),
            registrations: HashMap::new(),
            registration_outcomes: LastOutcomes::default(),
            turns: Turns::default(),
            permits: Permits::new(permits),
            peers: Peers::default(),
            known_under_way: HashMap::new(),
            failed_connections: Vec::new(),
            responded_at: None,
            last_active: None,
            count: 0,
            seed,
        }
    }

    pub(super) fn add_registration(&mut self, settings: RegistrationSettings) -> RegistrationId {
        self.count += 1;
        self.registrations.insert(self.count, Registration::new(settings));
        self.count
    }

    pub(super) fn remove_registration(&mut self, id: RegistrationId) {
        let removed = self.registrations.remove(&id);
        if let Some(turn) = removed.and_then(|registration| registration.canary.turn) {
            self.turns.remove(turn);
        }
    }

    pub(super) fn new_introspection(
        &mut self,
        registration: RegistrationId,
        token: Id,
        peer: Option<PeerKey>,
        now: Time,
    ) -> Introspection {
        self.count += 1;
        let found = self.registrations.get(&registration);
        let known = found.and_then(|found| found.known.subject(token, self.known_at(found, now)));
        Introspection { number: self.count, registration, token, known, peer }
    }

    /// Returns the time at which a token must have been known: the opening of the breaker, or now if
    /// it is closed. While the breaker is open, hardly any token can become known.
    fn known_at(&self, registration: &Registration, now: Time) -> Time {
        let breakers = [&self.breaker, &registration.breaker];
        breakers.into_iter().filter_map(Breaker::open_since).min().unwrap_or(now)
    }

    /// Decides whether an introspection may be sent.
    pub(super) fn admit(&mut self, introspection: &Introspection, now: Time) -> PermitDecision {
        let id = introspection.registration;
        self.want_regular_canary(id, now);
        if !self.passes_breakers(introspection, now) {
            let rejects_credentials = self
                .registrations
                .get(&id)
                .is_some_and(|found| found.rejects_credentials(Failure::RejectsCredentials));
            return PermitDecision::Refused(Refusal::Open { rejects_credentials });
        }
        let Some(registration) = self.registrations.get_mut(&id) else {
            return PermitDecision::Refused(Refusal::NoPermit { allows_stale: false });
        };
        if !introspection.is_known() && !registration.overload.allows(now) {
            return PermitDecision::Refused(Refusal::Overloaded);
        }
        if self.permits.take(introspection) {
            return PermitDecision::Granted;
        }
        match self.permits.wait(introspection) {
            Some(permit) => PermitDecision::Waiting(permit),
            None => PermitDecision::Refused(self.shed(introspection, now)),
        }
    }

    fn passes_breakers(&mut self, introspection: &Introspection, now: Time) -> bool {
        let id = introspection.registration;
        let Some(registration) = self.registrations.get(&id) else { return false };
        if !self.is_open(id) {
            return true;
        }
        // Unknown tokens are tried only if no token is known.
        let at = self.known_at(registration, now);
        let none_known = if self.breaker.is_open() {
            self.last_active.is_none_or(|last| at.saturating_sub(last) >= KNOWN_FOR)
        } else {
            registration.known.is_empty(at)
        };
        if !introspection.is_known() && !none_known {
            return false;
        }
        let subject = introspection.known.unwrap_or(introspection.token);
        let Some(registration) = self.registrations.get_mut(&id) else { return false };
        let breakers = [&mut self.breaker, &mut registration.breaker];
        let passes = breakers.iter().all(|breaker| breaker.lets_pass(subject, now));
        if passes {
            let is_known = introspection.is_known();
            breakers.into_iter().for_each(|breaker| breaker.note_trial(subject, is_known, now));
        }
        passes
    }

    /// Ends the waiting for a permit. Returns `None` if the introspection has one.
    pub(super) fn give_up(&mut self, introspection: &Introspection, now: Time) -> Option<Refusal> {
        self.leave_queue(introspection).then(|| self.shed(introspection, now))
    }

    /// Removes an introspection that was dropped from the queue. Returns false if it has a permit.
    pub(super) fn leave_queue(&mut self, introspection: &Introspection) -> bool {
        self.permits.leave(introspection)
    }

    /// Refuses an introspection for lack of a permit.
    fn shed(&mut self, introspection: &Introspection, now: Time) -> Refusal {
        let id = introspection.registration;
        if introspection.is_known() && !self.is_open(id) {
            self.open_if_known_tokens_hang(id, now);
        }
        Refusal::NoPermit { allows_stale: introspection.is_known() && self.is_open(id) }
    }

    pub(super) fn is_open(&self, id: RegistrationId) -> bool {
        let registration = self.registrations.get(&id);
        self.breaker.is_open() || registration.is_some_and(|found| found.breaker.is_open())
    }

    /// Notes that an introspection with a permit is sent now.
    pub(super) fn note_sent(&mut self, introspection: &Introspection, now: Time) {
        if let Some(subject) = introspection.known {
            let Introspection { number, registration, .. } = *introspection;
            let under_way = KnownUnderWay { registration, subject, sent_at: now };
            self.known_under_way.insert(number, under_way);
        } else if let Some(registration) = self.registrations.get_mut(&introspection.registration) {
            registration.overload.note_sent(now);
        }
    }

    /// Notes that an introspection is slow.
    pub(super) fn note_slow(&mut self, introspection: &Introspection, sent_at: Time) {
        self.want_canary_after(introspection, sent_at);
    }

    /// Gives the permit of an introspection back, whether or not it was sent.
    pub(super) fn give_permit_back(&mut self, introspection: &Introspection) {
        self.known_under_way.remove(&introspection.number);
        self.permits.give_back(introspection);
    }

    /// Takes the result of an introspection that was sent at `sent_at`.
    pub(super) fn take_result(
        &mut self,
        introspection: &Introspection,
        sent_at: Time,
        result: IntrospectionResult,
        now: Time,
    ) -> Conclusion {
        let failure = match result {
            IntrospectionResult::FailedHere => return Conclusion::Final,
            IntrospectionResult::Failed(failure) => failure,
            IntrospectionResult::Active(subject) => {
                self.take_response(introspection, sent_at, Some(subject), now);
                return Conclusion::Final;
            }
            IntrospectionResult::Inactive => {
                self.take_response(introspection, sent_at, None, now);
                return Conclusion::Final;
            }
        };
        let is_response =
            !matches!(failure, Failure::NotSent | Failure::NoEndpoint | Failure::Unreachable);
        if is_response {
            self.responded_at = Some(now);
        }
        let failed = Failed { introspection: *introspection, sent_at, failure };
        if failure == Failure::Overloaded {
            return self.take_overload(failed, now);
        }
        if failure == Failure::NotSent {
            self.note_failed_connection(now);
        }
        if let Some(subject) = introspection.known {
            self.note_known_failure(introspection.registration, subject, now);
        }
        self.judge_or_wait(failed)
    }

    /// Takes a response about the token: its subject if it is active.
    fn take_response(
        &mut self,
        introspection: &Introspection,
        sent_at: Time,
        active: Option<Id>,
        now: Time,
    ) {
        let Introspection { registration: id, token, known, .. } = *introspection;
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        self.responded_at = Some(now);
        registration.has_responded = true;
        if known.is_none() {
            self.permits.note_unknown(active.is_some());
        }
        if let Some(subject) = known.or(active) {
            registration.subjects.note(subject, now, false);
            registration.overloads.note(subject, now, false);
            self.registration_outcomes.note(Id::of(id), now, false);
        }
        if known.is_some() {
            registration.note_response_about_known(sent_at);
        }
        if registration.last_overload.is_some_and(|(last, _)| last == token) {
            registration.last_overload = None;
        }
        match active {
            Some(subject) => {
                self.peers.note(introspection.peer, subject);
                let capacity = registration.settings.known_tokens.per_registration();
                registration.known.insert(token, subject, now, capacity);
                self.last_active = Some(now);
            }
            None => registration.known.remove(token),
        }
        self.close(id, sent_at, known.is_some());
    }
}
