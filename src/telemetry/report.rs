//! Reports what happened, as events and metrics.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "metrics")]
use super::metrics;
use super::{called::Called, events};
use crate::error::{kind::ErrorKind, refusal::VerifyError};

/// The label of all issuers that are resolved at run time: their number is unbounded.
pub(crate) const RESOLVED: &str = "resolved";

/// Returns the label of an issuer in metrics.
pub(crate) fn issuer_label(issuer: &str, resolved: bool) -> Arc<str> {
    if resolved { RESOLVED.into() } else { issuer.into() }
}

/// Reports a refusal by any part of the crate.
pub(crate) fn refused(error: &VerifyError, subject: Option<&str>) {
    events::refused(error, subject);
    #[cfg(feature = "metrics")]
    metrics::refused(error.kind());
}

/// Reports a request that an observed requirement, which is not enforced, would have refused.
pub(crate) fn would_have_refused(observer: &str, error: &VerifyError) {
    events::would_have_refused(observer, error);
    #[cfg(feature = "metrics")]
    metrics::would_have_refused(observer, error.kind());
}

/// Counts a request that was let in by a token verified `age` ago.
pub(crate) fn admitted(method: &'static str, age: Duration) {
    #[cfg(feature = "metrics")]
    metrics::admitted(method, age);
    #[cfg(not(feature = "metrics"))]
    let _ = (method, age);
}

/// Counts a request that was let through without credentials.
pub(crate) fn anonymous() {
    #[cfg(feature = "metrics")]
    metrics::anonymous();
}

/// Counts a request that a layer refused.
pub(crate) fn turned_away() {
    #[cfg(feature = "metrics")]
    metrics::turned_away();
}

/// Counts a call of an authorization server and records its duration.
///
/// `ended` holds the duration and the error, if any. It is `None` if the call was dropped before
/// its end.
pub(crate) fn called(
    issuer: &Arc<str>,
    what: Called,
    ended: Option<(Duration, Option<ErrorKind>)>,
) {
    #[cfg(feature = "metrics")]
    metrics::called(issuer, what, ended);
    #[cfg(not(feature = "metrics"))]
    let _ = (issuer, what, ended);
}
