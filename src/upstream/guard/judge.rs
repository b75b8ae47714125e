//! Judges failures: sends canaries, finds out whose fault a failure was, opens and closes breakers.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use super::{
    circuit::OpenedBy,
    health::{Conclusion, Health, SHARE},
    question::{Answer, Failed, Question, TenantId, Verdict},
    recent::Time,
};
use crate::{error::failure::Failure, telemetry::server_state::ServerState};

/// The pause between the first canary that failed and the second.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The shortest and the longest pause between canaries while they fail.
const PAUSES: (u64, u64) = (5_000, 10_000);

/// The next step of the task that sends canaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextCanary {
    /// Send one to this tenant now.
    Send(TenantId),
    /// Wait until then.
    At(Time),
    /// Wait until a canary is wanted or one that is under way ends.
    Later,
}

/// A change that operators should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) before: ServerState,
    pub(super) after: ServerState,
}

impl Health {
    // Canaries.

    /// Asks for a canary of a tenant. `asked` is the start of the question that makes it urgent.
    pub(super) fn want_canary(&mut self, id: TenantId, asked: Option<Time>) {
        let is_open = self.is_open(id);
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        // One that was sent after the question is under way.
        if asked.is_some() && tenant.canary.under_way >= asked {
            return;
        }
        let is_urgent = asked.is_some() || tenant.canary.failures > 0 || is_open;
        tenant.canary.turn = Some(self.turns.add(id, tenant.canary.turn, is_urgent));
    }

    /// Returns the next step of the task that sends canaries. Counts a canary to send as sent.
    pub(super) fn next_canary(&mut self, now: Time) -> NextCanary {
        let earliest = self.turns.earliest();
        let at = |id: TenantId| {
            let canary = &self.tenants.get(&id)?.canary;
            canary.under_way.is_none().then(|| (canary.not_before.max(earliest), id))
        };
        // The first in turn that may be sent, or else the first that may be sent later.
        let due = self.turns.iter().filter_map(at).find(|(at, _)| *at <= now);
        let Some((_, id)) = due else {
            let next = self.turns.iter().filter_map(at).map(|(at, _)| at).min();
            return next.map_or(NextCanary::Later, NextCanary::At);
        };
        let Some(tenant) = self.tenants.get_mut(&id) else { return NextCanary::Later };
        tenant.canary.under_way = Some(now);
        tenant.canary.last_sent = Some(now);
        tenant.canary.sent += 1;
        if let Some(turn) = tenant.canary.turn.take() {
            self.turns.remove(turn);
        }
        self.turns.note_sent(now);
        NextCanary::Send(id)
    }

    /// Takes the answer to a canary.
    pub(super) fn take_canary(
        &mut self,
        id: TenantId,
        answer: Answer,
        now: Time,
    ) -> Option<Change> {
        let tenant = self.tenants.get_mut(&id)?;
        let began = tenant.canary.under_way.take()?;
        let before = tenant.canary.server;
        let own = tenant.settings.has_own_canary;
        match answer {
            Answer::Failed(failure) => {
                tenant.canary.server = server_state(failure);
                self.canary_failed(id, began, failure, now);
            }
            // This service could not make the request. That says nothing about the server.
            Answer::NotAsked => self.judge(id, began, now),
            Answer::Active(_) | Answer::Inactive => {
                let accepts_anything = !own && matches!(answer, Answer::Active(_));
                tenant.canary.server = if accepts_anything {
                    ServerState::AcceptsAnything
                } else {
                    ServerState::Answers
                };
                self.canary_succeeded(id, began, now);
            }
        }
        let tenant = self.tenants.get(&id)?;
        let after = tenant.canary.server;
        if !tenant.waiting.is_empty() || self.is_open(id) {
            self.want_canary(id, None);
        }
        (before != after).then_some(Change { before, after })
    }

    fn canary_succeeded(&mut self, id: TenantId, began: Time, now: Time) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let canary = &mut tenant.canary;
        if canary.failures > 0 {
            canary.recovered = Some(now);
        }
        canary.judges = true;
        canary.failures = 0;
        canary.failing_since = None;
        canary.not_before = Time::ZERO;
        canary.last_success = Some(began);
        canary.last_failure = None;
        tenant.has_answered = true;
        let own = tenant.settings.has_own_canary;
        self.responded = Some(now);
        self.close(id, began, own);
        self.judge(id, began, now);
    }

    fn canary_failed(&mut self, id: TenantId, began: Time, failure: Failure, now: Time) {
        let pause = self.pause_after_failure(id);
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let canary = &mut tenant.canary;
        canary.failures = canary.failures.saturating_add(1);
        canary.last_failure = Some(failure);
        canary.not_before = now + if canary.failures == 1 { FIRST_PAUSE } else { pause };
        if failure == Failure::Overloaded {
            tenant.overload.cut(now);
        } else {
            let again = canary.failing_since.is_some();
            let since = *canary.failing_since.get_or_insert(began);
            let known_answered = tenant.known_answered >= Some(since);
            let (judges, has_answered) = (canary.judges, tenant.has_answered);
            if judges && again && !known_answered {
                let one = (failure != Failure::NotSent).then_some(id);
                self.open(one, OpenedBy::Canaries, now);
            } else if again && !has_answered {
                self.open(Some(id), OpenedBy::NoAnswerYet, now);
            }
        }
        self.judge(id, began, now);
    }

    /// Returns a random pause, so that many processes do not ask at the same time.
    fn pause_after_failure(&mut self, id: TenantId) -> Duration {
        self.seed = self.seed.wrapping_add(1);
        let bits = BuildHasherDefault::<DefaultHasher>::default().hash_one((self.seed, id));
        let (shortest, longest) = PAUSES;
        Duration::from_millis(shortest + bits % (longest - shortest))
    }

    /// Judges the failed questions that were asked before a canary that has ended.
    fn judge(&mut self, id: TenantId, began: Time, now: Time) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let failed_too = tenant.canary.last_failure;
        let is_due = |(failed, _): &mut (Failed, _)| failed.asked <= began;
        let due: Vec<_> = tenant.waiting.extract_if(.., is_due).collect();
        for (failed, sender) in due {
            let verdict = if failed.failure == Failure::Overloaded {
                self.refused(&failed.question, failed.asked, now)
            } else {
                self.verdict(&failed, failed_too)
            };
            // The request may have gone away.
            let _ = sender.send(verdict);
        }
    }

    fn verdict(&self, failed: &Failed, canary_failed: Option<Failure>) -> Verdict {
        let nobody = Verdict::NobodyAtFault { serves_stale: true };
        let Some(tenant) = self.tenants.get(&failed.question.tenant) else { return nobody };
        if tenant.rejects_us(failed.failure) {
            return Verdict::RejectsUs;
        }
        let recovered_since = tenant.canary.recovered.is_some_and(|at| failed.asked < at);
        if canary_failed.is_some() || recovered_since || !tenant.canary.judges {
            return nobody;
        }
        // A token that was good is refused only by an answer.
        let named = failed.failure == Failure::NamesToken && !failed.question.is_known();
        Verdict::TokenAtFault { named }
    }

    // Overload.

    /// Takes a refusal because the server has too much to do. It is about this service, and about a
    /// token only if that one gets it twice, with canaries fine and no other token refused between.
    pub(super) fn take_overload(&mut self, failed: Failed, now: Time) -> Conclusion {
        let question = failed.question;
        let Some(tenant) = self.tenants.get_mut(&question.tenant) else {
            return Conclusion::Judged(Verdict::NobodyAtFault { serves_stale: false });
        };
        let last = tenant.refused_last.replace((question.token, now));
        let alone = last.is_some_and(|(token, at)| {
            token == question.token && tenant.canary.last_success > Some(at)
        });
        if alone {
            return Conclusion::Judged(Verdict::TokenAtFault { named: false });
        }
        if let Some(subject) = question.known {
            tenant.refused.note(subject, now, true);
        }
        if tenant.refused.many_failed(now, SHARE) || tenant.refused.all_failed(now) {
            tenant.overload.cut(now);
        }
        let was_cut = tenant.overload.was_cut_lately(now);
        if let Some(subject) = question.known
            && self.is_still_refused(&question, failed.asked, now)
        {
            self.known_token_failed(question.tenant, subject, now);
        }
        if was_cut {
            self.want_canary(question.tenant, Some(failed.asked));
            return Conclusion::Judged(self.refused(&question, failed.asked, now));
        }
        self.wait_for_canary(failed)
    }

    /// Returns true if a known token was refused although no unknown ones were asked about any more.
    fn is_still_refused(&mut self, question: &Question, asked: Time, now: Time) -> bool {
        let tenant = self.tenants.get_mut(&question.tenant);
        let stopped = tenant.and_then(|tenant| tenant.overload.stopped(now));
        question.is_known() && stopped.is_some_and(|stopped| asked >= stopped)
    }

    fn refused(&mut self, question: &Question, asked: Time, now: Time) -> Verdict {
        let serves_stale =
            self.is_still_refused(question, asked, now) || self.is_open(question.tenant);
        Verdict::NobodyAtFault { serves_stale }
    }

    // Breakers.

    /// Opens the breaker of one tenant, or of the origin.
    pub(super) fn open(&mut self, one: Option<TenantId>, by: OpenedBy, now: Time) {
        let opened = match one {
            Some(id) => {
                self.tenants.get_mut(&id).is_some_and(|tenant| tenant.circuit.open(by, now))
            }
            None => self.circuit.open(by, now),
        };
        if !opened {
            return;
        }
        let of_origin = self.tenants.keys().copied().filter(|_| one.is_none());
        let affected: Vec<_> = of_origin.chain(one).collect();
        for id in affected {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            let waiting = std::mem::take(&mut tenant.waiting);
            let any = !waiting.is_empty();
            for (failed, sender) in waiting {
                let verdict = if tenant.rejects_us(failed.failure) {
                    Verdict::RejectsUs
                } else {
                    Verdict::NobodyAtFault { serves_stale: true }
                };
                // The request may have gone away.
                let _ = sender.send(verdict);
            }
            if any || one.is_some() {
                self.want_canary(id, None);
            }
        }
        if one.is_none() && !self.turns.has_urgent() {
            let any = self.tenants.keys().next().copied();
            any.into_iter().for_each(|id| self.want_canary(id, None));
        }
    }

    /// Closes the breakers after an answer to a question that was asked at `asked`.
    pub(super) fn close(&mut self, id: TenantId, asked: Time, about_known: bool) {
        let origin = self.circuit.close(asked, about_known);
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        if tenant.circuit.close(asked, about_known) || origin {
            tenant.subjects.forget_failures();
            self.tenant_outcomes.forget_failures();
            self.failed_connections.clear();
        }
    }
}

const fn server_state(failure: Failure) -> ServerState {
    match failure {
        Failure::NotSent | Failure::Unreachable => ServerState::Unreachable,
        Failure::Overloaded => ServerState::Overloaded,
        Failure::RejectsUs => ServerState::RejectsCredentials,
        Failure::NamesToken | Failure::Refused => ServerState::RefusesEveryone,
        Failure::Gateway | Failure::Broken => ServerState::Broken,
    }
}
