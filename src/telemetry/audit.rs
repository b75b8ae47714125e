//! Records who changed the cutoffs by hand.

#[cfg(feature = "tracing")]
use super::events::{TARGET, truncate_name};

/// A change of the cutoffs by hand, and the caller who made it.
pub(crate) struct ChangeByHand<'a> {
    /// `revoke`, `ask_anew` or `evict`.
    pub(crate) effect: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) issuer: Option<&'a str>,
    /// Only if subjects may be logged.
    pub(crate) value: Option<&'a str>,
    pub(crate) by_issuer: &'a str,
    pub(crate) by_subject: Option<&'a str>,
    pub(crate) by_client: Option<&'a str>,
}

/// Records a change. None is suppressed, however many there are.
pub(crate) fn changed_by_hand(change: &ChangeByHand<'_>) {
    #[cfg(feature = "tracing")]
    {
        let ChangeByHand { effect, kind, .. } = *change;
        tracing::info!(
            target: TARGET,
            effect,
            kind,
            issuer = change.issuer.map(truncate_name),
            value = change.value.map(truncate_name),
            by_issuer = truncate_name(change.by_issuer),
            by_subject = change.by_subject.map(truncate_name),
            by_client = change.by_client.map(truncate_name),
            "revoked by hand"
        );
    }
    #[cfg(not(feature = "tracing"))]
    let _ = change;
}
