//! Reports what happened, as events and metrics.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "metrics")]
use super::metrics;
use super::{endpoint_kind::EndpointKind, events, refused_by::RefusedBy};
use crate::error::{kind::ErrorKind, refusal::VerifyError};

/// The label of all issuers that are resolved at run time: their number is unbounded.
pub(crate) const RESOLVED_ISSUERS: &str = "resolved";

/// Returns the label of an issuer in metrics.
pub(crate) fn issuer_label(issuer: &str, resolved: bool) -> Arc<str> {
    if resolved { RESOLVED_ISSUERS.into() } else { issuer.into() }
}

/// Reports a refusal by a part of the crate.
pub(crate) fn refused(error: &VerifyError, by: RefusedBy, subject: Option<&str>) {
    events::refused(error, by, subject);
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
pub(crate) fn request_admitted(method: &'static str, age: Duration) {
    #[cfg(feature = "metrics")]
    metrics::request_admitted(method, age);
    #[cfg(not(feature = "metrics"))]
    let _ = (method, age);
}

/// Counts a request that was let through without credentials.
pub(crate) fn request_anonymous() {
    #[cfg(feature = "metrics")]
    metrics::request_anonymous();
}

/// Counts a request that a layer refused.
pub(crate) fn request_refused() {
    #[cfg(feature = "metrics")]
    metrics::request_refused();
}

/// Reports that a stream ended before its handler was done. `unverified` is the error if its token
/// could not be verified again.
pub(crate) fn stream_ended(reason: &'static str, unverified: Option<&VerifyError>) {
    events::stream_ended(reason, unverified);
    #[cfg(feature = "metrics")]
    metrics::stream_ended(reason);
}

/// Records the age that facts had when the token of a stream was verified again.
pub(crate) fn stream_token_verified(method: &'static str, age: Duration) {
    #[cfg(feature = "metrics")]
    metrics::stream_token_verified(method, age);
    #[cfg(not(feature = "metrics"))]
    let _ = (method, age);
}

/// Counts a call of an authorization server and records its duration.
///
/// `ended` holds the duration and the error, if any. It is `None` if the call was dropped before
/// its end.
pub(crate) fn upstream_call_ended(
    issuer: &Arc<str>,
    endpoint: EndpointKind,
    ended: Option<(Duration, Option<ErrorKind>)>,
) {
    #[cfg(feature = "metrics")]
    metrics::upstream_call_ended(issuer, endpoint, ended);
    #[cfg(not(feature = "metrics"))]
    let _ = (issuer, endpoint, ended);
}
