//! Sends canaries, and judges failures by them.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    breaker::OpenedBy,
    canaries::Urgency,
    health::{Conclusion, Health, NOT_JUDGED},
    introspection::{Failed, Introspection, IntrospectionResult, Judgement, RegistrationId},
    opening::FAILED_SHARE,
    recent::Time,
};
use crate::{error::failure::Failure, telemetry::server_state::ServerState};

/// The time after which a server that is well gets another canary.
const CANARY_EVERY: Duration = Duration::from_secs(60 * 60);

/// The pause between the first canary that failed and the second.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The shortest and the longest pause between later canaries while they fail, in milliseconds.
const SHORTEST_PAUSE: u64 = 5_000;
const LONGEST_PAUSE: u64 = 10_000;

/// The maximum number of failed introspections of one registration that wait for a canary, for each
/// permit.
const WAITING_PER_PERMIT: usize = 4;

/// The time after which a canary under way, or the task that sends them, counts as lost. Both take
/// less, if their runtime runs.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(60);

/// The next step of the task that sends canaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextCanary {
    /// Send one to this registration now.
    Send(RegistrationId),
    /// Wait until then.
    At(Time),
    /// End. The task starts again when a canary is wanted or one that is under way ends.
    None,
}

/// A change of the state in which canaries find the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) before: ServerState,
    pub(super) after: ServerState,
}

/// Sending canaries.
impl Health {
    /// Asks for a canary beside real introspections, or because the breaker is open.
    pub(super) fn want_canary(&mut self, id: RegistrationId) {
        let is_open = self.is_open(id);
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let canary = &mut registration.canary;
        let has_failed = canary.failures > 0 || is_open;
        let urgency = if has_failed { Urgency::Failed } else { Urgency::Regular };
        canary.turn = Some(self.turns.add(id, canary.turn, urgency));
    }

    /// Asks for a canary because of an introspection that failed or is slow. It must be sent later
    /// than that.
    pub(super) fn want_canary_after(&mut self, introspection: &Introspection, sent_at: Time) {
        let id = introspection.registration;
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let canary = &mut registration.canary;
        if canary.under_way_since.is_some_and(|since| since >= sent_at) {
            return;
        }
        let urgency = Urgency::after(introspection);
        canary.turn = Some(self.turns.add(id, canary.turn, urgency));
    }

    /// Asks for a canary beside real introspections: with the first, and once an hour.
    pub(super) fn want_regular_canary(&mut self, id: RegistrationId, now: Time) {
        let Some(registration) = self.registrations.get(&id) else { return };
        let last = registration.canary.last_sent;
        if last.is_none_or(|last| now.saturating_sub(last) >= CANARY_EVERY) {
            self.want_canary(id);
        }
    }

    /// Returns the next step of the task that sends canaries. Counts a canary to send as sent.
    pub(super) fn next_canary(&mut self, now: Time) -> NextCanary {
        let earliest = self.turns.earliest();
        if self.turns.is_empty() {
            return NextCanary::None;
        }
        // Without a look at each turn, of which there may be thousands.
        if now < earliest {
            return NextCanary::At(earliest);
        }
        let at = |id: RegistrationId| {
            let canary = &self.registrations.get(&id)?.canary;
            let lost_at = canary.under_way_since.map_or(Time::ZERO, |since| since + LOST_AFTER);
            (lost_at <= now).then(|| (canary.not_before.max(earliest), id))
        };
        // The first in turn that may be sent, or else the first that may be sent later.
        let due = self.turns.iter().filter_map(at).find(|(at, _)| *at <= now);
        let Some((_, id)) = due else {
            let next = self.turns.iter().filter_map(at).map(|(at, _)| at).min();
            return next.map_or(NextCanary::None, NextCanary::At);
        };
        let Some(registration) = self.registrations.get_mut(&id) else { return NextCanary::None };
        let canary = &mut registration.canary;
        canary.under_way_since = Some(now);
        canary.last_sent = Some(now);
        canary.sent += 1;
        if let Some(turn) = canary.turn.take() {
            self.turns.remove(turn);
        }
        self.turns.note_sent(now);
        NextCanary::Send(id)
    }

    /// Takes the result of the canary that was sent at `sent_at`, and was a token of this service if
    /// `is_own`. Returns the change of the server's state, if there is one.
    pub(super) fn take_canary(
        &mut self,
        id: RegistrationId,
        sent_at: Time,
        is_own: bool,
        result: IntrospectionResult,
        now: Time,
    ) -> Option<Change> {
        let registration = self.registrations.get_mut(&id)?;
        let canary = &mut registration.canary;
        // One that was lost may end after all, while another is under way.
        canary.under_way_since.take_if(|since| *since == sent_at)?;
        let before = canary.found;
        match result {
            IntrospectionResult::Failed(failure) => {
                canary.found = server_state(failure);
                self.canary_failed(id, sent_at, failure, now);
                self.judge(id, sent_at, now);
            }
            // It proves nothing, so those that wait for it go on waiting.
            IntrospectionResult::FailedHere => {}
            IntrospectionResult::Active(_) if !is_own => {
                canary.found = ServerState::AcceptsAnything;
                self.canary_succeeded(id, sent_at, false, now);
            }
            IntrospectionResult::Active(_) | IntrospectionResult::Inactive => {
                canary.found = ServerState::Answers;
                let is_deep = matches!(result, IntrospectionResult::Active(_));
                self.canary_succeeded(id, sent_at, is_deep, now);
            }
        }
        let registration = self.registrations.get(&id)?;
        let after = registration.canary.found;
        if !registration.waiting.is_empty() || self.is_open(id) {
            self.want_canary(id);
        }
        (before != after).then_some(Change { before, after })
    }

    fn canary_succeeded(&mut self, id: RegistrationId, sent_at: Time, is_deep: bool, now: Time) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let canary = &mut registration.canary;
        if canary.failures > 0 {
            canary.recovered_at = Some(now);
        }
        canary.can_judge = true;
        canary.failures = 0;
        canary.failing_since_sent = None;
        canary.not_before = Time::ZERO;
        canary.last_success_sent = Some(sent_at);
        canary.last_failure = None;
        registration.has_responded = true;
        self.responded_at = Some(now);
        self.close(id, sent_at, is_deep);
        self.judge(id, sent_at, now);
    }

    fn canary_failed(&mut self, id: RegistrationId, sent_at: Time, failure: Failure, now: Time) {
        let pause = self.pause_after_failure(id);
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let canary = &mut registration.canary;
        canary.failures = canary.failures.saturating_add(1);
        canary.last_failure = Some(failure);
        canary.not_before = now + if canary.failures == 1 { FIRST_PAUSE } else { pause };
        if failure == Failure::Overloaded {
            registration.overload.cut(now);
            return;
        }
        let Some(since) = canary.failing_since_sent else {
            canary.failing_since_sent = Some(sent_at);
            return;
        };
        // A known token that got a response meanwhile shows that canaries err.
        let can_judge = canary.can_judge
            && registration.last_known_sent.is_none_or(|last_known| last_known < since);
        if can_judge {
            // Other registrations may be at another server, if metadata names it.
            let none_responded = self.responded_at.is_none_or(|at| at < since);
            let one = (failure != Failure::NotSent || !none_responded).then_some(id);
            self.open(one, OpenedBy::Canaries, now);
        } else if !registration.has_responded {
            self.open(Some(id), OpenedBy::NoResponseYet, now);
        }
    }

    /// Returns a random pause, so that many processes do not ask at the same time.
    fn pause_after_failure(&mut self, id: RegistrationId) -> Duration {
        self.seed = self.seed.wrapping_add(1);
        let bits = BuildHasherDefault::<DefaultHasher>::default().hash_one((self.seed, id));
        Duration::from_millis(SHORTEST_PAUSE + bits % (LONGEST_PAUSE - SHORTEST_PAUSE))
    }
}

/// Judging failures.
impl Health {
    /// Has a failed introspection wait for a canary, if one can judge it.
    pub(super) fn judge_or_wait(&mut self, failed: Failed) -> Conclusion {
        let id = failed.introspection.registration;
        let is_open = self.is_open(id);
        let Some(registration) = self.registrations.get(&id) else {
            return Conclusion::Judged(NOT_JUDGED);
        };
        let unjudged = registration.unjudged(failed.failure);
        // Nothing of the token was sent, so it can't be at fault.
        if matches!(failed.failure, Failure::NotSent | Failure::NoEndpoint) {
            self.want_canary_after(&failed.introspection, failed.sent_at);
            return Conclusion::Judged(unjudged);
        }
        // With wrong credentials from the start, the first canary tells, although none has succeeded.
        let can_judge =
            registration.canary.can_judge || failed.failure == Failure::RejectsCredentials;
        if is_open || !can_judge {
            self.want_canary_after(&failed.introspection, failed.sent_at);
            return Conclusion::Judged(unjudged);
        }
        self.wait_for_canary(failed)
    }

    fn wait_for_canary(&mut self, failed: Failed) -> Conclusion {
        let id = failed.introspection.registration;
        let limit = self.permits.limit().saturating_mul(WAITING_PER_PERMIT);
        self.want_canary_after(&failed.introspection, failed.sent_at);
        let Some(registration) = self.registrations.get_mut(&id) else {
            return Conclusion::Judged(NOT_JUDGED);
        };
        if registration.waiting.len() >= limit {
            registration.waiting.retain(|(_, sender)| !sender.is_closed());
        }
        if registration.waiting.len() >= limit {
            let charges_peer = !failed.introspection.is_known();
            let allows_stale = false;
            return Conclusion::Judged(Judgement::NotTokenAtFault { allows_stale, charges_peer });
        }
        let (sender, judgement) = oneshot::channel();
        registration.waiting.push((failed, sender));
        Conclusion::Waiting(judgement)
    }

    /// Judges the failed introspections that were sent before a canary that has ended.
    fn judge(&mut self, id: RegistrationId, canary_sent_at: Time, now: Time) {
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let succeeded = registration.canary.last_failure.is_none();
        let is_due = |(failed, _): &mut (Failed, _)| failed.sent_at <= canary_sent_at;
        let due: Vec<_> = registration.waiting.extract_if(.., is_due).collect();
        for (failed, sender) in due {
            let judgement = if failed.failure == Failure::Overloaded {
                self.judge_overload(&failed.introspection, failed.sent_at, succeeded, now)
            } else {
                self.registrations.get(&id).map_or(NOT_JUDGED, |own| own.judge(&failed))
            };
            // The request may have gone away.
            let _ = sender.send(judgement);
        }
    }
}

/// Overload.
impl Health {
    /// Handles a response that the server is overloaded. It counts against the token only if the last
    /// such response was about the same token and a canary succeeded in between.
    pub(super) fn take_overload(&mut self, failed: Failed, now: Time) -> Conclusion {
        let Failed { introspection, sent_at, .. } = failed;
        let id = introspection.registration;
        let Some(registration) = self.registrations.get_mut(&id) else {
            return Conclusion::Judged(NOT_JUDGED);
        };
        if registration.is_lone_overload(introspection.token, now) {
            self.want_canary_after(&introspection, sent_at);
            return Conclusion::Judged(Judgement::TokenAtFault { is_invalid: false });
        }
        if let Some(subject) = introspection.known {
            registration.overloads.note(subject, now, true);
        }
        let many = registration.overloads.many_failed(now, FAILED_SHARE);
        let all =
            registration.overloads.all_failed(now) && registration.canary.last_failure.is_some();
        if many || all {
            registration.overload.cut(now);
        }
        let was_cut = registration.overload.was_cut_lately(now);
        if let Some(subject) = introspection.known
            && self.is_overloaded_while_stopped(&introspection, sent_at, now)
        {
            self.note_known_failure(id, subject, now);
        }
        if was_cut {
            self.want_canary_after(&introspection, sent_at);
            return Conclusion::Judged(self.judge_overload(&introspection, sent_at, false, now));
        }
        self.wait_for_canary(failed)
    }

    /// Returns true if the server was overloaded for a known token although no unknown ones were
    /// introspected any more.
    fn is_overloaded_while_stopped(
        &mut self,
        introspection: &Introspection,
        sent_at: Time,
        now: Time,
    ) -> bool {
        let registration = self.registrations.get_mut(&introspection.registration);
        let stopped = registration.and_then(|registration| registration.overload.stopped(now));
        introspection.is_known() && stopped.is_some_and(|stopped| sent_at >= stopped)
    }

    /// If a canary succeeded after it, the peer of an unknown token stays charged: it may have a
    /// supply of tokens that a firewall refuses in this way.
    fn judge_overload(
        &mut self,
        introspection: &Introspection,
        sent_at: Time,
        canary_succeeded: bool,
        now: Time,
    ) -> Judgement {
        let allows_stale = self.is_overloaded_while_stopped(introspection, sent_at, now)
            || self.is_open(introspection.registration);
        let charges_peer = canary_succeeded && !introspection.is_known();
        Judgement::NotTokenAtFault { allows_stale, charges_peer }
    }
}

const fn server_state(failure: Failure) -> ServerState {
    match failure {
        Failure::NotSent | Failure::NoEndpoint | Failure::Unreachable => ServerState::Unreachable,
        Failure::Overloaded => ServerState::Overloaded,
        Failure::RejectsCredentials => ServerState::RejectsCredentials,
        Failure::InvalidToken | Failure::Refused => ServerState::RefusesEveryone,
        Failure::Gateway | Failure::Broken => ServerState::Broken,
    }
}
