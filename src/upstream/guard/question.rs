//! A question to the server, and what became of it.

use std::time::Duration;

use super::recent::{Id, Time};
use crate::{
    error::{failure::Failure, kind::Blame},
    verify::{peer::PeerKey, verifier::Outcome},
};

/// The number of an issuer and client at an origin.
pub(super) type TenantId = u64;

/// A question about the token of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) number: u64,
    pub(super) tenant: TenantId,
    pub(super) token: Id,
    /// The subject of a token that is known to be good. `None` for all others.
    pub(super) known: Option<Id>,
    pub(super) peer: Option<PeerKey>,
}

impl Question {
    pub(super) const fn is_known(&self) -> bool {
        self.known.is_some()
    }
}

/// The answer to a question or to a canary.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// The token is active and has this subject.
    Active(Id),
    /// A well-formed answer that the token is not good.
    Inactive,
    Failed(Failure),
    /// This service failed before it asked.
    NotAsked,
}

impl Answer {
    /// Returns the answer that an outcome stands for. A token without a subject is its own.
    pub(super) fn of(outcome: &Outcome, token: Id) -> Self {
        match outcome {
            Ok(active) => {
                let claims = active.claims();
                let client = || claims.client_id().map(Id::of);
                Self::Active(claims.subject().map(Id::of).or_else(client).unwrap_or(token))
            }
            Err(error) => match error.failure() {
                Some(failure) => Self::Failed(failure),
                None if error.blame() == Blame::Client => Self::Inactive,
                None => Self::NotAsked,
            },
        }
    }
}

/// The end of a question that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server fails on this token alone, and calls it invalid if `named`.
    TokenAtFault { named: bool },
    /// The server fails on other tokens, too, or that is not known.
    NobodyAtFault { serves_stale: bool },
    /// The server rejects the credentials of this service.
    RejectsUs,
}

/// The reason for which a question is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The breaker is open, because the server rejects the credentials of this service if
    /// `rejects_us`.
    Open { rejects_us: bool },
    /// The server has too much to do, so nothing is asked about unknown tokens at present.
    Overloaded,
    /// All permits are taken.
    NoPermit { serves_stale: bool },
}

/// A question that failed and waits for a canary to tell whose fault that was.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) question: Question,
    pub(super) asked: Time,
    pub(super) failure: Failure,
}

/// The share of the timeout after which a question counts as slow, and a permit is waited for.
pub(super) fn quarter(timeout: Duration) -> Duration {
    timeout / 4
}
