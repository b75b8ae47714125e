//! The effects of the events in a security event token.

use super::{
    resolve::{Reach, SubjectRules, Target},
    set::{SecurityEvents, StreamUpdate, Verification},
    types::SubjectEvent,
};
use crate::{
    clock::UnixTime,
    revocation::{change::CutoffChange, cutoff::Cutoff},
};

/// The maximum number of effects of one token, but for those on whole issuers.
const MAX_EFFECTS: usize = 64;

/// The effects of a security event token, and its events about the stream.
#[derive(Default)]
pub(super) struct Mapped {
    pub(super) effects: Vec<CutoffChange>,
    pub(super) verification: Option<Verification>,
    pub(super) stream_updated: Option<StreamUpdate>,
    pub(super) counts: Counts,
}

/// The numbers of events that had no effect, or a wider one than they ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Ignored: the transmitter doesn't speak for the issuer of the subject.
    pub(super) foreign_issuer: usize,
    /// Discarded: a critical member of the subject can't be processed (SSF 1.0 §3.6).
    pub(super) critical_member: usize,
    /// Widened: the `sub` of the user is not known.
    pub(super) unmapped_subject: usize,
}

/// Returns the effects of a token that the transmitter of these rules has sent.
///
/// An event about a user whose `sub` is not known has all facts of the issuers asked anew. That does
/// not reach JWTs that are verified locally. A map from identifiers to `sub` prevents this.
pub(super) fn effects(set: &SecurityEvents, rules: &SubjectRules) -> Mapped {
    let mut mapped = Mapped {
        verification: set.verification.clone(),
        stream_updated: set.stream_updated,
        ..Mapped::default()
    };
    for &(event, time) in &set.events {
        let (action, reach) = reaction(event);
        let target = match &set.subject {
            Some(subject) => rules.target(subject, reach),
            None => Target::Tokens(rules.everything()),
        };
        mapped.add(target, action, time, rules);
    }
    mapped
}

#[derive(Clone, Copy)]
enum Action {
    Revoke,
    AskAnew,
}

impl Action {
    /// Returns the effect on the tokens of a cutoff, at a time or now.
    fn on(self, cutoff: Cutoff, time: Option<UnixTime>) -> CutoffChange {
        match (self, time) {
            (Self::Revoke, Some(time)) => CutoffChange::Revoke(cutoff.at(time)),
            (Self::Revoke, None) => CutoffChange::Revoke(cutoff),
            (Self::AskAnew, _) => CutoffChange::Outdate(cutoff),
        }
    }
}

const fn reaction(event: SubjectEvent) -> (Action, Reach) {
    match event {
        SubjectEvent::SessionRevoked => (Action::Revoke, Reach::Session),
        SubjectEvent::CredentialChange
        | SubjectEvent::AccountPurged
        | SubjectEvent::AccountDisabled
        | SubjectEvent::CredentialCompromise
        | SubjectEvent::SessionsRevoked => (Action::Revoke, Reach::User),
        SubjectEvent::TokenClaimsChange
        | SubjectEvent::AssuranceLevelChange
        | SubjectEvent::DeviceComplianceChange => (Action::AskAnew, Reach::Session),
    }
}

impl Mapped {
    fn add(
        &mut self,
        target: Target,
        action: Action,
        time: Option<UnixTime>,
        rules: &SubjectRules,
    ) {
        let cutoffs = match target {
            Target::Tokens(cutoffs) => cutoffs,
            Target::UnknownUser(cutoffs) => {
                self.counts.unmapped_subject += 1;
                self.effects.extend(rules.everything().into_iter().map(CutoffChange::Outdate));
                cutoffs
            }
            Target::Foreign => {
                self.counts.foreign_issuer += 1;
                return;
            }
            Target::Critical => {
                self.counts.critical_member += 1;
                return;
            }
        };
        let is_too_many = self.effects.len() + cutoffs.len() > MAX_EFFECTS;
        let cutoffs = if is_too_many { rules.everything() } else { cutoffs };
        self.effects.extend(cutoffs.into_iter().map(|cutoff| action.on(cutoff, time)));
    }
}

#[cfg(test)]
#[path = "tests/mapping.rs"]
mod tests;
