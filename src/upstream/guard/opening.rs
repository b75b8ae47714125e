//! Opens and closes the breakers of an origin and of its registrations.

use std::collections::BTreeSet;

use super::{
    breaker::OpenedBy,
    health::Health,
    introspection::{RegistrationId, quarter},
    recent::{FEWEST_FAILED, Id, Time, WINDOW},
};

/// The number of connections in a row that must fail to open the breaker.
const FAILED_CONNECTIONS: usize = 5;

/// The share of the permits that known tokens must hold for long to open the breaker: one in eight.
const HANGING_SHARE: usize = 8;

/// The share of subjects or registrations that must fail: one in twenty.
pub(super) const FAILED_SHARE: usize = 20;

impl Health {
    /// Notes a failed connection. Several in a row, without a response between, open the breaker of
    /// the origin.
    pub(super) fn note_failed_connection(&mut self, now: Time) {
        if self.failed_connections.len() == FAILED_CONNECTIONS {
            self.failed_connections.remove(0);
        }
        self.failed_connections.push(now);
        let Some(&first) = self.failed_connections.first() else { return };
        let none_responded = self.responded_at.is_none_or(|responded| responded < first);
        if self.failed_connections.len() == FAILED_CONNECTIONS
            && now.saturating_sub(first) < WINDOW
            && none_responded
        {
            self.open(None, OpenedBy::Connections, now);
        }
    }

    /// Notes that the introspection of a known token failed. Many that fail open the breaker.
    pub(super) fn note_known_failure(&mut self, id: RegistrationId, subject: Id, now: Time) {
        self.registration_outcomes.note(Id::of(id), now, true);
        if self.registration_outcomes.many_failed(now, FAILED_SHARE) {
            self.open(None, OpenedBy::KnownTokens, now);
        }
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        registration.subjects.note(subject, now, true);
        if registration.subjects.many_failed(now, FAILED_SHARE) {
            self.open(Some(id), OpenedBy::KnownTokens, now);
        }
    }

    /// Opens the breakers of registrations whose known tokens hold many permits for long: the server
    /// fails on them. Opens that of the origin if there are many such registrations.
    pub(super) fn open_if_known_tokens_hang(&mut self, id: RegistrationId, now: Time) {
        let Some(registration) = self.registrations.get(&id) else { return };
        let long = quarter(registration.settings.timeout);
        let under_way = self.known_under_way.values();
        let hanging = under_way.filter(|one| now.saturating_sub(one.sent_at) > long);
        let subjects: BTreeSet<_> = hanging.map(|one| (one.registration, one.subject)).collect();
        if subjects.len() < (self.permits.limit() / HANGING_SHARE).max(FEWEST_FAILED) {
            return;
        }
        let registrations: BTreeSet<_> = subjects.iter().map(|(id, _)| *id).collect();
        if registrations.len() >= FEWEST_FAILED {
            self.open(None, OpenedBy::KnownTokens, now);
        } else {
            registrations
                .into_iter()
                .for_each(|id| self.open(Some(id), OpenedBy::KnownTokens, now));
        }
    }

    /// Opens the breaker of one registration, or of the origin.
    pub(super) fn open(&mut self, one: Option<RegistrationId>, by: OpenedBy, now: Time) {
        let opened = match one {
            Some(id) => {
                self.registrations.get_mut(&id).is_some_and(|own| own.breaker.open(by, now))
            }
            None => self.breaker.open(by, now),
        };
        if !opened {
            return;
        }
        let affected: Vec<_> = match one {
            Some(id) => vec![id],
            None => self.registrations.keys().copied().collect(),
        };
        for id in affected {
            if self.release_waiting(id) || one.is_some() {
                self.want_canary(id);
            }
        }
        // An open breaker needs a canary that can close it.
        if !self.turns.has_failed()
            && let Some(any) = self.registrations.keys().next().copied()
        {
            self.want_canary(any);
        }
    }

    /// Ends the waiting for canaries. Returns true if any introspection waited.
    fn release_waiting(&mut self, id: RegistrationId) -> bool {
        let Some(registration) = self.registrations.get_mut(&id) else { return false };
        let waiting = std::mem::take(&mut registration.waiting);
        let any = !waiting.is_empty();
        for (failed, sender) in waiting {
            // The request may have gone away.
            let _ = sender.send(registration.unjudged(failed.failure));
        }
        any
    }

    /// Closes the breakers after a response to a request sent at `sent_at`.
    pub(super) fn close(&mut self, id: RegistrationId, sent_at: Time, is_deep: bool) {
        let closed = self.breaker.close(sent_at, is_deep);
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        if registration.breaker.close(sent_at, is_deep) || closed {
            registration.subjects.forget_failures();
            self.registration_outcomes.forget_failures();
            self.failed_connections.clear();
        }
    }
}
