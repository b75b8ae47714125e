//! The health of one origin: which questions may be asked, and whose fault a failure is.
//!
//! It waits for nothing and reads no clock. Each method is told the time, so that the rules can be
//! tested step by step.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{
    canaries::Turns,
    circuit::{Circuit, OpenedBy},
    permits::Permits,
    question::{Answer, Failed, Question, Refusal, TenantId, Verdict, quarter},
    recent::{Id, KNOWN_FOR, LastOutcomes, Time, WINDOW},
    tenant::{Tenant, TenantSettings},
};
use crate::{error::failure::Failure, verify::peer::PeerKey};

/// The number of connections in a row that must fail to open the breaker.
const FAILED_CONNECTIONS: usize = 5;

/// The share of subjects or tenants that must fail: one in twenty.
pub(super) const SHARE: usize = 20;

/// The time after which a server that is well gets another canary.
const CANARY_EVERY: Time = Time::from_secs(60 * 60);

/// The maximum number of failed questions of one tenant that wait for a canary, for each permit.
const WAITING_PER_PERMIT: usize = 4;

#[derive(Debug)]
pub(super) struct Health {
    pub(super) circuit: Circuit,
    pub(super) tenants: HashMap<TenantId, Tenant>,
    /// The last outcomes of known tokens, by tenant.
    pub(super) tenant_outcomes: LastOutcomes,
    pub(super) turns: Turns,
    permits: Permits,
    /// The questions about known tokens that are under way: subject and start.
    known_under_way: HashMap<u64, (Id, Time)>,
    /// The last connections that failed.
    pub(super) failed_connections: Vec<Time>,
    /// When the server last responded to anything.
    pub(super) responded: Option<Time>,
    /// When the last token was called active, of any tenant.
    last_known: Option<Time>,
    count: u64,
    /// The seed of random pauses.
    pub(super) seed: u64,
}

/// Leave to ask a question.
#[derive(Debug)]
pub(super) enum Admission {
    Refused(Refusal),
    Granted,
    /// A permit will follow, unless the question leaves before.
    Waiting(oneshot::Receiver<()>),
}

/// What follows from an answer.
#[derive(Debug)]
pub(super) enum Conclusion {
    /// The server answered: its answer counts.
    Answered,
    Judged(Verdict),
    /// A canary decides.
    Waiting(oneshot::Receiver<Verdict>),
}

impl Health {
    pub(super) fn new(permits: usize, seed: u64) -> Self {
        Self {
            circuit: Circuit::default(),
            tenants: HashMap::new(),
            tenant_outcomes: LastOutcomes::default(),
            turns: Turns::default(),
            permits: Permits::new(permits),
            known_under_way: HashMap::new(),
            failed_connections: Vec::new(),
            responded: None,
            last_known: None,
            count: 0,
            seed,
        }
    }

    pub(super) fn add_tenant(&mut self, settings: TenantSettings) -> TenantId {
        self.count += 1;
        self.tenants.insert(self.count, Tenant::new(settings));
        self.count
    }

    pub(super) fn remove_tenant(&mut self, id: TenantId) {
        if let Some(turn) = self.tenants.remove(&id).and_then(|tenant| tenant.canary.turn) {
            self.turns.remove(turn);
        }
    }

    /// Returns a question about a token.
    pub(super) fn question(
        &mut self,
        tenant: TenantId,
        token: Id,
        peer: Option<PeerKey>,
        now: Time,
    ) -> Question {
        self.count += 1;
        let known = self
            .tenants
            .get(&tenant)
            .and_then(|tenant| tenant.known.subject(token, self.known_at(tenant, now)));
        Question { number: self.count, tenant, token, known, peer }
    }

    /// Returns the time at which a token must be known to be good: now, or when the breaker opened.
    /// While it is open hardly any token can become known.
    fn known_at(&self, tenant: &Tenant, now: Time) -> Time {
        let opened = [&self.circuit, &tenant.circuit].into_iter().filter_map(Circuit::open_since);
        opened.min().unwrap_or(now)
    }

    /// Decides whether a question may be asked.
    pub(super) fn admit(&mut self, question: &Question, now: Time) -> Admission {
        self.want_regular_canary(question.tenant, now);
        if !self.breaker_lets_pass(question, now) {
            let tenant = self.tenants.get(&question.tenant);
            let rejects_us = tenant.is_some_and(|tenant| tenant.rejects_us(Failure::RejectsUs));
            return Admission::Refused(Refusal::Open { rejects_us });
        }
        let Some(tenant) = self.tenants.get_mut(&question.tenant) else {
            return Admission::Refused(Refusal::NoPermit { serves_stale: false });
        };
        if !question.is_known() && !tenant.overload.allows(now) {
            return Admission::Refused(Refusal::Overloaded);
        }
        if self.permits.take(question) {
            return Admission::Granted;
        }
        match self.permits.wait(question) {
            Some(permit) => Admission::Waiting(permit),
            None => Admission::Refused(self.shed(question, now)),
        }
    }

    fn breaker_lets_pass(&mut self, question: &Question, now: Time) -> bool {
        let Some(tenant) = self.tenants.get(&question.tenant) else { return false };
        if !self.circuit.is_open() && !tenant.circuit.is_open() {
            return true;
        }
        // Unknown tokens are tried only where nothing is known to be good.
        let at = self.known_at(tenant, now);
        let none_known = if self.circuit.is_open() {
            self.last_known.is_none_or(|last| at.saturating_sub(last) >= KNOWN_FOR)
        } else {
            tenant.known.is_empty(at)
        };
        if !question.is_known() && !none_known {
            return false;
        }
        let Some(tenant) = self.tenants.get_mut(&question.tenant) else { return false };
        let subject = question.known.or(Some(question.token));
        self.circuit.lets_pass(subject, now) && tenant.circuit.lets_pass(subject, now)
    }

    /// Ends the waiting for a permit. Returns `None` if the question has one.
    pub(super) fn give_up(&mut self, question: &Question, now: Time) -> Option<Refusal> {
        self.leave(question).then(|| self.shed(question, now))
    }

    /// The same for a question that nobody waits for any more. Returns false if it has a permit.
    pub(super) fn leave(&mut self, question: &Question) -> bool {
        self.permits.leave(question)
    }

    /// Refuses a question for lack of a permit.
    ///
    /// Known tokens that hang may be the reason. Then the server fails on good tokens, and the
    /// breaker opens.
    fn shed(&mut self, question: &Question, now: Time) -> Refusal {
        let Some(tenant) = self.tenants.get(&question.tenant) else {
            return Refusal::NoPermit { serves_stale: false };
        };
        let is_open = self.circuit.is_open() || tenant.circuit.is_open();
        if question.is_known() && !is_open {
            let long = quarter(tenant.settings.timeout);
            let hanging = self.known_under_way.values();
            let hanging = hanging.filter(|(_, asked)| now.saturating_sub(*asked) > long);
            let mut subjects: Vec<_> = hanging.map(|(subject, _)| *subject).collect();
            subjects.sort_unstable();
            subjects.dedup();
            if subjects.len() >= (self.permits.limit() / 8).max(3) {
                let one = (self.tenants.len() == 1).then_some(question.tenant);
                self.open(one, OpenedBy::KnownTokens, now);
            }
        }
        Refusal::NoPermit { serves_stale: question.is_known() && self.is_open(question.tenant) }
    }

    pub(super) fn is_open(&self, tenant: TenantId) -> bool {
        let tenant = self.tenants.get(&tenant);
        self.circuit.is_open() || tenant.is_some_and(|tenant| tenant.circuit.is_open())
    }

    /// Notes that a question with a permit is asked now.
    pub(super) fn ask(&mut self, question: &Question, now: Time) {
        if let Some(subject) = question.known {
            self.known_under_way.insert(question.number, (subject, now));
        } else if let Some(tenant) = self.tenants.get_mut(&question.tenant) {
            tenant.overload.note_sent(now);
        }
    }

    /// Notes that a question is slow.
    pub(super) fn is_slow(&mut self, question: &Question, asked: Time) {
        self.want_canary(question.tenant, Some(asked));
    }

    /// Gives the permit of a question back, whether or not it was asked.
    pub(super) fn end(&mut self, question: &Question) {
        self.known_under_way.remove(&question.number);
        self.permits.give_back(question);
    }

    /// Takes the answer to a question that was asked at `asked`.
    pub(super) fn answer(
        &mut self,
        question: &Question,
        asked: Time,
        answer: Answer,
        now: Time,
    ) -> Conclusion {
        let failure = match answer {
            Answer::NotAsked => return Conclusion::Answered,
            Answer::Failed(failure) => failure,
            Answer::Active(_) | Answer::Inactive => {
                self.responded = Some(now);
                self.take_answer(question, asked, answer, now);
                return Conclusion::Answered;
            }
        };
        if !matches!(failure, Failure::NotSent | Failure::Unreachable) {
            self.responded = Some(now);
        }
        let failed = Failed { question: *question, asked, failure };
        if failure == Failure::Overloaded {
            return self.take_overload(failed, now);
        }
        if failure == Failure::NotSent {
            self.take_failed_connection(now);
        }
        if let Some(subject) = question.known {
            self.known_token_failed(question.tenant, subject, now);
        }
        self.judge_later(failed)
    }

    fn take_answer(&mut self, question: &Question, asked: Time, answer: Answer, now: Time) {
        let Some(tenant) = self.tenants.get_mut(&question.tenant) else { return };
        let active = match answer {
            Answer::Active(subject) => Some(subject),
            _ => None,
        };
        tenant.has_answered = true;
        if !question.is_known() {
            self.permits.note_answer(active.is_some());
        }
        if let Some(subject) = question.known.or(active) {
            tenant.subjects.note(subject, now, false);
            tenant.refused.note(subject, now, false);
            self.tenant_outcomes.note(Id::of(question.tenant), now, false);
        }
        if question.is_known() {
            tenant.known_answered = tenant.known_answered.max(Some(asked));
            // The canary fails where a good token is answered: it can't judge.
            if tenant.canary.failing_since.is_some_and(|since| asked > since) {
                tenant.canary.judges = false;
            }
        }
        if tenant.refused_last.is_some_and(|(token, _)| token == question.token) {
            tenant.refused_last = None;
        }
        match active {
            Some(subject) => {
                let capacity = tenant.settings.known_tokens.each();
                tenant.known.insert(question.token, subject, now, capacity);
                self.last_known = Some(now);
            }
            None => tenant.known.remove(question.token),
        }
        self.close(question.tenant, asked, question.is_known());
    }

    fn take_failed_connection(&mut self, now: Time) {
        if self.failed_connections.len() == FAILED_CONNECTIONS {
            self.failed_connections.remove(0);
        }
        self.failed_connections.push(now);
        let first = self.failed_connections[0];
        let no_response_since = self.responded.is_none_or(|responded| responded < first);
        if self.failed_connections.len() == FAILED_CONNECTIONS
            && now.saturating_sub(first) < WINDOW
            && no_response_since
        {
            self.open(None, OpenedBy::Connections, now);
        }
    }

    pub(super) fn known_token_failed(&mut self, tenant: TenantId, subject: Id, now: Time) {
        self.tenant_outcomes.note(Id::of(tenant), now, true);
        if self.tenant_outcomes.many_failed(now, SHARE) {
            self.open(None, OpenedBy::KnownTokens, now);
        }
        let Some(state) = self.tenants.get_mut(&tenant) else { return };
        state.subjects.note(subject, now, true);
        if state.subjects.many_failed(now, SHARE) {
            self.open(Some(tenant), OpenedBy::KnownTokens, now);
        }
    }

    /// Has a failed question wait for a canary, if one can judge it.
    fn judge_later(&mut self, failed: Failed) -> Conclusion {
        let id = failed.question.tenant;
        let is_open = self.is_open(id);
        let Some(tenant) = self.tenants.get_mut(&id) else {
            return Conclusion::Judged(Verdict::NobodyAtFault { serves_stale: false });
        };
        // At a first start with wrong credentials, the first canary tells.
        let tells = tenant.canary.judges || failed.failure == Failure::RejectsUs;
        // Nothing of the token was sent, so it can't be its fault.
        let is_ours = failed.failure == Failure::NotSent;
        if is_open || !tells || is_ours {
            let rejects_us = tenant.rejects_us(failed.failure);
            self.want_canary(id, is_ours.then_some(failed.asked));
            return Conclusion::Judged(if rejects_us {
                Verdict::RejectsUs
            } else {
                Verdict::NobodyAtFault { serves_stale: true }
            });
        }
        self.wait_for_canary(failed)
    }

    pub(super) fn wait_for_canary(&mut self, failed: Failed) -> Conclusion {
        let (id, asked) = (failed.question.tenant, failed.asked);
        let limit = self.permits.limit().saturating_mul(WAITING_PER_PERMIT);
        self.want_canary(id, Some(asked));
        match self.tenants.get_mut(&id) {
            Some(tenant) => {
                if tenant.waiting.len() >= limit {
                    tenant.waiting.retain(|(_, sender)| !sender.is_closed());
                }
                if tenant.waiting.len() >= limit {
                    return Conclusion::Judged(Verdict::NobodyAtFault { serves_stale: false });
                }
                let (sender, verdict) = oneshot::channel();
                tenant.waiting.push((failed, sender));
                Conclusion::Waiting(verdict)
            }
            None => Conclusion::Judged(Verdict::NobodyAtFault { serves_stale: false }),
        }
    }

    /// Asks for a canary beside real questions, once at the start and once an hour.
    fn want_regular_canary(&mut self, id: TenantId, now: Time) {
        let Some(tenant) = self.tenants.get(&id) else { return };
        let last = tenant.canary.last_sent;
        if last.is_none_or(|last| now.saturating_sub(last) >= CANARY_EVERY) {
            self.want_canary(id, None);
        }
    }
}
