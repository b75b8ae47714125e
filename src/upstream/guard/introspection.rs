//! An introspection of a client's token, its result, and the judgement of a failure.

use std::time::Duration;

use super::recent::{Id, Time};
use crate::{
    error::{failure::Failure, kind::Blame},
    verify::{peer::PeerKey, verifier::Outcome},
};

/// The number of a registration at an origin.
pub(super) type RegistrationId = u64;

/// An introspection of the token of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Introspection {
    pub(super) number: u64,
    pub(super) registration: RegistrationId,
    pub(super) token: Id,
    /// The subject of a known token. `None` for all others.
    pub(super) known: Option<Id>,
    pub(super) peer: Option<PeerKey>,
}

impl Introspection {
    pub(super) const fn is_known(&self) -> bool {
        self.known.is_some()
    }
}

/// The result of an introspection or a canary.
#[derive(Clone, Copy, Debug)]
pub(super) enum IntrospectionResult {
    /// The token is active and has this subject.
    Active(Id),
    /// The server called the token inactive, or otherwise not acceptable.
    Inactive,
    Failed(Failure),
    /// This service failed before it sent a request. That is no evidence about the server.
    FailedHere,
}

impl IntrospectionResult {
    /// Returns the result that an outcome stands for. A token without a subject is its own.
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
                None => Self::FailedHere,
            },
        }
    }
}

/// The judgement of an introspection that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The server fails on this token alone. If `is_invalid`, it called the token invalid.
    TokenAtFault { is_invalid: bool },
    /// The server fails on other tokens too, or the cause is not known.
    NotTokenAtFault { allows_stale: bool, charges_peer: bool },
    /// The server rejects the credentials of this service.
    RejectsCredentials,
}

/// The reason why an introspection is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The breaker is open, because the server rejects the credentials of this service if
    /// `rejects_credentials`.
    Open { rejects_credentials: bool },
    /// The server is overloaded, so no unknown token is introspected at present.
    Overloaded,
    /// All permits are taken.
    NoPermit { allows_stale: bool },
}

/// An introspection that failed and has to be judged.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) introspection: Introspection,
    pub(super) sent_at: Time,
    pub(super) failure: Failure,
}

/// Returns the part of the timeout after which an introspection counts as slow, and for which a
/// permit is waited for.
pub(super) fn quarter(timeout: Duration) -> Duration {
    timeout / 4
}
