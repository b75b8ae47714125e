//! What an operator is told.
//!
//! Events and metrics carry bounded names and numbers, never a token or a claim, nor anything else a
//! client wrote; save for the subject of a token, where the application asks for that.

pub(crate) mod events;
#[cfg(feature = "tracing")]
mod limit;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;

use std::{sync::Arc, time::Duration};

use crate::error::{config::ConfigError, kind::ErrorKind, refusal::VerifyError};

/// The issuers that are not known beforehand share this name: there may be any number of them.
pub(crate) const RESOLVED: &str = "resolved";

/// What an issuer is called in metrics.
pub(crate) fn issuer_label(issuer: &str, resolved: bool) -> Arc<str> {
    if resolved { RESOLVED.into() } else { issuer.into() }
}

/// Reports a refusal, by whatever part of the crate.
pub(crate) fn refused(error: &VerifyError, subject: Option<&str>) {
    events::refused(error, subject);
    #[cfg(feature = "metrics")]
    metrics::refused(error.kind());
}

/// Reports what a requirement that is only observed would have refused.
pub(crate) fn would_have_refused(observer: &str, error: &VerifyError) {
    events::would_have_refused(observer, error);
    #[cfg(feature = "metrics")]
    metrics::would_have_refused(observer, error.kind());
}

/// Counts a request that was let in, by facts of this age.
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

/// Counts a request that a layer did not let in.
pub(crate) fn turned_away() {
    #[cfg(feature = "metrics")]
    metrics::turned_away();
}

/// Reports that the hook for refusals panicked.
pub(crate) fn hook_panicked() {
    events::hook_panicked();
}

/// Reports that the keys of an issuer were fetched.
pub(crate) fn keys_fetched(issuer: &str, keys: usize) {
    events::keys_fetched(issuer, keys);
}

/// Reports that they were not. Requests may not notice for as long as the last ones serve.
pub(crate) fn keys_not_fetched(issuer: &str, error: &VerifyError) {
    events::keys_not_fetched(issuer, error);
}

/// Reports that the files of a transport have changed, and it was made again.
pub(crate) fn transport_renewed() {
    events::transport_renewed();
}

/// Reports that it could not be.
pub(crate) fn transport_not_renewed(problems: &ConfigError) {
    events::transport_not_renewed(problems);
}

/// What of an authorization server is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    Introspection,
    Jwks,
    Metadata,
}

impl Called {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Introspection => "introspection",
            Self::Jwks => "jwks",
            Self::Metadata => "metadata",
        }
    }
}

/// Counts a call of an authorization server, and how long it took, unless nobody waited for its end.
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
