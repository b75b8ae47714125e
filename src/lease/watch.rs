//! The watch over one token that has open streams.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    end::EndCause,
    holder::check_same_holder,
    key::TokenKey,
    schedule::{MAX_PAUSE, MIN_PERIOD, Schedule, Times, luck},
    slots::Slots,
    state::LeaseState,
};
use crate::{
    clock::{Moment, UnixTime},
    error::{
        kind::{Blame, ErrorKind},
        refusal::VerifyError,
    },
    revocation::cutoff::Standing,
    telemetry,
    verify::{
        active::{ActiveToken, Method},
        request::{Freshness, VerifyRequest},
        verifier::Outcome,
    },
};

/// A token with open streams: the facts about it, and the time to look at it again.
///
/// It does no I/O and takes the time as an argument.
pub(super) struct Watch {
    pub(super) key: Arc<TokenKey>,
    pub(super) active: ActiveToken,
    leases: Slots,
    /// The instant to look at the token again. The registry keeps its timer there.
    pub(super) due: Instant,
    times: Times,
    /// The cutoff that outdated the facts last.
    outdated: Option<Moment>,
    is_asking: bool,
    /// True if the next verification has to be a new one: by no cache, and by none under way.
    needs_live: bool,
    failures: u32,
    last_error: Option<VerifyError>,
    /// The number of leases that want the token verified again.
    verified_again: usize,
    /// The least leeway of a policy, at most.
    leeway: Duration,
    /// The earliest end of the life of a stream.
    life_ends_at: Option<Instant>,
}

/// The leases that end, and others that were looked at.
///
/// A lease that is dropped leaves the registry, so none may be dropped while that is locked. All are
/// kept here until it no longer is.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) ending: Vec<Ending>,
    looked_at: Vec<Arc<LeaseState>>,
}

/// A lease that ends if it still belongs to this token.
pub(super) struct Ending {
    pub(super) lease: Arc<LeaseState>,
    pub(super) key: Arc<TokenKey>,
    pub(super) cause: EndCause,
}

impl Watch {
    pub(super) fn new(
        key: Arc<TokenKey>,
        active: ActiveToken,
        schedule: &Schedule,
        now: Moment,
    ) -> Self {
        let mut watch = Self {
            key,
            active: active.clone(),
            leases: Slots::default(),
            due: now.monotonic(),
            times: Times { recheck_at: now.monotonic(), give_up_at: now.monotonic() },
            outdated: None,
            is_asking: false,
            needs_live: false,
            failures: 0,
            last_error: None,
            verified_again: 0,
            leeway: Duration::MAX,
            life_ends_at: None,
        };
        watch.know(active, schedule, now);
        watch
    }

    /// Takes newer facts about the token.
    pub(super) fn know(&mut self, active: ActiveToken, schedule: &Schedule, now: Moment) {
        let age = now.since(active.verified_at());
        self.times = schedule.times(now.monotonic(), age, self.luck());
        self.active = active;
        self.failures = 0;
        self.last_error = None;
        self.outdated = None;
        self.plan(now);
    }

    /// Takes the facts by which a further stream was opened.
    ///
    /// The streams that are open already were not judged by them, or the new one not by those that are
    /// known. So the token is verified again soon, however many further streams are opened meanwhile.
    pub(super) fn learn(&mut self, active: ActiveToken, schedule: &Schedule, now: Moment) {
        let known_at = self.active.verified_at();
        if known_at == active.verified_at() {
            return;
        }
        let recheck_at = self.times.recheck_at.min(now.monotonic() + MIN_PERIOD);
        // Facts about somebody else are left to the verification, which ends all streams for them.
        if known_at.is_before(active.verified_at())
            && check_same_holder(&self.active, &active).is_ok()
        {
            self.know(active, schedule, now);
        }
        self.times.recheck_at = self.times.recheck_at.min(recheck_at);
    }

    /// Adds a lease, and returns its place.
    pub(super) fn add(&mut self, lease: &Arc<LeaseState>, now: Moment) -> u32 {
        self.verified_again += usize::from(lease.verifies_again());
        self.note(lease);
        let slot = self.leases.add(Arc::downgrade(lease));
        self.plan(now);
        slot
    }

    /// Removes the lease at this place. Returns true if it was the last one.
    pub(super) fn remove(&mut self, slot: u32, lease: &LeaseState) -> bool {
        self.verified_again -= usize::from(lease.verifies_again());
        self.leases.remove(slot);
        self.leases.is_empty()
    }

    /// Takes into account when a lease ends.
    fn note(&mut self, lease: &LeaseState) {
        self.leeway = self.leeway.min(lease.terms.leeway());
        self.life_ends_at = earlier(self.life_ends_at, lease.life_ends_at());
    }

    /// Returns the time from which on a policy with this leeway calls the token expired.
    fn expires_at(&self, leeway: Duration) -> Option<UnixTime> {
        Some(self.active.claims().expires_at()?.saturating_add(leeway))
    }

    /// Returns the open leases.
    pub(super) fn leases(&self) -> impl Iterator<Item = Arc<LeaseState>> {
        self.leases.iter()
    }

    /// Looks at the token. Returns the request to verify it with, if that is due.
    pub(super) fn look(
        &mut self,
        standing: Standing,
        schedule: &Schedule,
        now: Moment,
        ends: &mut Ends,
    ) -> Option<VerifyRequest> {
        let refused = match standing {
            _ if self.active.is_retired() => Some(ErrorKind::UnknownKey),
            Standing::Revoked => Some(ErrorKind::Revoked),
            _ => None,
        };
        if let Some(kind) = refused {
            self.end_all(ends, &EndCause::Refused(kind.into()));
            self.due = now.monotonic() + MAX_PAUSE;
            return None;
        }
        if let Standing::Outdated(since) = standing
            && self.outdated != Some(since)
        {
            let grace = MIN_PERIOD + schedule.period().mul_f64(0.2 * self.luck());
            let give_up_at = now.monotonic() + grace;
            // Of a token that is not verified again the other time is long over.
            self.times.give_up_at = if self.is_to_be_asked_about() {
                self.times.give_up_at.min(give_up_at)
            } else {
                give_up_at
            };
            self.times.recheck_at = now.monotonic();
            self.outdated = Some(since);
        }
        self.end_expired(now, ends);
        let request = self.ask_if_due(schedule, now, ends);
        self.plan(now);
        // Never in a tight loop, whatever the clocks show.
        self.due = self.due.max(now.monotonic() + Duration::from_millis(1));
        request
    }

    /// Ends the streams whose token has expired, or whose life is over.
    fn end_expired(&mut self, now: Moment, ends: &mut Ends) {
        let has_expired =
            |leeway| self.expires_at(leeway).is_some_and(|at: UnixTime| at <= now.wall());
        let life_is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now.monotonic());
        if !has_expired(self.leeway) && !life_is_over(self.life_ends_at) {
            return;
        }
        let mut staying = Vec::new();
        for lease in self.leases.iter() {
            if has_expired(lease.terms.leeway()) {
                ends.add(self, lease, EndCause::Refused(ErrorKind::Expired.into()));
            } else if life_is_over(lease.life_ends_at()) {
                ends.add(self, lease, EndCause::MaxLife);
            } else {
                staying.push(lease);
            }
        }
        (self.leeway, self.life_ends_at) = (Duration::MAX, None);
        staying.iter().for_each(|lease| self.note(lease));
        ends.looked_at.append(&mut staying);
    }

    fn ask_if_due(
        &mut self,
        schedule: &Schedule,
        now: Moment,
        ends: &mut Ends,
    ) -> Option<VerifyRequest> {
        if !self.is_to_be_asked_about() {
            return None;
        }
        if self.times.give_up_at <= now.monotonic() {
            let error = self.last_error.clone().unwrap_or_else(|| {
                VerifyError::new(ErrorKind::Unavailable)
                    .with_context("no answer about the token came in time")
            });
            let cause = EndCause::Unverified(error);
            if self.outdated.is_some() {
                self.end_all(ends, &cause);
            } else {
                self.end_those_verified_again(ends, &cause);
            }
            return None;
        }
        if self.is_asking || self.times.recheck_at > now.monotonic() {
            return None;
        }
        self.is_asking = true;
        let freshness = if std::mem::take(&mut self.needs_live) {
            Freshness::Live
        } else {
            Freshness::Within(schedule.acceptable_age())
        };
        Some(VerifyRequest::new(self.key.token.clone()).with_freshness(freshness))
    }

    /// Returns true if the token is verified again: a cutoff has outdated its facts, or they may change
    /// and a lease wants it. A signature says nothing new.
    fn is_to_be_asked_about(&self) -> bool {
        let may_change = self.active.method() != Method::Jwt;
        self.outdated.is_some() || may_change && self.verified_again > 0
    }

    /// Takes the outcome of a verification. Returns the leases to judge by the new facts.
    pub(super) fn answer(
        &mut self,
        outcome: Outcome,
        schedule: &Schedule,
        now: Moment,
        ends: &mut Ends,
    ) -> Option<ActiveToken> {
        self.is_asking = false;
        let outcome = outcome.and_then(|active| {
            check_same_holder(&self.active, &active)?;
            Ok(active)
        });
        let known = match outcome {
            Ok(active) => {
                let age = now.since(self.active.verified_at());
                telemetry::report::stream_token_verified(active.method().as_str(), age);
                self.take_answer(active.clone(), schedule, now);
                Some(active)
            }
            Err(error) if blames_token(&error) => {
                self.end_all(ends, &EndCause::Refused(error));
                None
            }
            Err(error) => {
                self.ask_later(schedule, now);
                self.last_error = Some(error);
                None
            }
        };
        if self.needs_live {
            // Asked for while this verification was under way.
            self.times.recheck_at = now.monotonic();
        }
        self.plan(now);
        known
    }

    /// Takes the facts of a verification.
    fn take_answer(&mut self, active: ActiveToken, schedule: &Schedule, now: Moment) {
        let is_newer = self.active.verified_at().is_before(active.verified_at());
        if is_newer || now.since(active.verified_at()) <= schedule.acceptable_age() {
            self.know(active, schedule, now);
        } else {
            // The verifier has no better ones at present, such as a cache that serves stale ones.
            self.ask_later(schedule, now);
        }
    }

    /// Plans another attempt after one that brought nothing new.
    fn ask_later(&mut self, schedule: &Schedule, now: Moment) {
        let pause = schedule.retry_pause(self.failures, self.luck());
        self.times.recheck_at = now.monotonic() + pause;
        self.failures = self.failures.saturating_add(1);
    }

    /// Verifies the token again at once.
    pub(super) fn hasten(&mut self, now: Moment) {
        self.needs_live = true;
        self.times.recheck_at = now.monotonic();
        self.due = now.monotonic();
    }

    /// Sets when to look at the token again.
    fn plan(&mut self, now: Moment) {
        let mut due = now.monotonic() + MAX_PAUSE;
        if self.is_to_be_asked_about() {
            due = due.min(self.times.give_up_at);
            if !self.is_asking {
                due = due.min(self.times.recheck_at);
            }
        }
        if let Some(at) = self.expires_at(self.leeway) {
            let left = at.saturating_duration_since(now.wall());
            due = due.min(now.monotonic() + left.min(MAX_PAUSE));
        }
        if let Some(at) = self.life_ends_at {
            due = due.min(at);
        }
        self.due = due;
    }

    pub(super) fn end_all(&self, ends: &mut Ends, cause: &EndCause) {
        for lease in self.leases.iter() {
            ends.add(self, lease, cause.clone());
        }
    }

    fn end_those_verified_again(&self, ends: &mut Ends, cause: &EndCause) {
        for lease in self.leases.iter() {
            if lease.verifies_again() {
                ends.add(self, lease, cause.clone());
            } else {
                ends.looked_at.push(lease);
            }
        }
    }

    fn luck(&self) -> f64 {
        luck(self.key.hash)
    }
}

impl Ends {
    fn add(&mut self, watch: &Watch, lease: Arc<LeaseState>, cause: EndCause) {
        self.ending.push(Ending { lease, key: Arc::clone(&watch.key), cause });
    }
}

/// Returns true if this refusal is about the token, rather than about a server or this service.
pub(super) fn blames_token(error: &VerifyError) -> bool {
    error.blame() == Blame::Client && error.kind() != ErrorKind::TooManyRequests
}

fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
