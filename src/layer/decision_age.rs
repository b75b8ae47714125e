//! The age of decisions.

use std::time::Duration;

use crate::{clock::Moment, credentials::head::RequestHead};

/// The longest time between the decision on a request and its call of the inner service.
///
/// Meanwhile a token may expire, be revoked, or lose its key. A request that waited for longer, for
/// the inner service or for a store of used proofs, is decided anew.
pub(super) const MAX_DECISION_AGE: Duration = Duration::from_secs(1);

/// A request extension that says that a layer had the token verified for this very request.
///
/// An inner layer that requires fresh facts finds them in its cache, and does not have the token
/// verified twice. Only this crate creates one.
#[derive(Clone, Copy, Debug)]
pub(super) struct VerifiedForRequest {
    /// The start of the verification.
    started_at: Moment,
    decided_at: Moment,
}

impl VerifiedForRequest {
    pub(super) const fn new(started_at: Moment, decided_at: Moment) -> Self {
        Self { started_at, decided_at }
    }

    /// Returns the start of the verification, if the decision on it is recent.
    ///
    /// The request may have waited between the layers, or be sent again.
    pub(super) fn start(head: RequestHead<'_>, now: Moment) -> Option<Moment> {
        let Self { started_at, decided_at } = *head.extension::<Self>()?;
        (now.since(decided_at) <= MAX_DECISION_AGE).then_some(started_at)
    }
}
