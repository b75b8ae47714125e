//! Writes events and spans, all with the target `tower_introspect`.

use std::{fmt, time::Duration};

#[cfg(feature = "tracing")]
use super::limit::Limiter;
use super::{refused_by::RefusedBy, server_state::ServerState};
use crate::error::{config::ConfigError, refusal::VerifyError};
#[cfg(feature = "tracing")]
use crate::{
    clock::{Moment, SystemClock},
    error::{
        chain::Chain,
        kind::{Blame, ErrorKind},
    },
};

#[cfg(feature = "tracing")]
pub(super) const TARGET: &str = "tower_introspect";

/// The maximum length of a subject or an issuer in events, in bytes. The issuer chooses the subject,
/// which may be as long as its response.
#[cfg(feature = "tracing")]
const MAX_NAME: usize = 128;

/// The maximum length of an unmet requirement in events, in bytes. It is configuration, of any
/// length.
#[cfg(feature = "tracing")]
const MAX_REQUIREMENT: usize = 512;

/// Writes an event, unless there were too many with the same reason.
#[cfg(feature = "tracing")]
macro_rules! limited {
    ($level:ident, $reason:expr, $($event:tt)+) => {{
        static LIMITER: Limiter = Limiter::new();
        // Events that no subscriber wants must not count as suppressed.
        if tracing::enabled!(target: TARGET, tracing::Level::$level)
            && let Some(suppressed) = LIMITER.allow($reason, Moment::now(&SystemClock))
        {
            // Without the field if nothing was suppressed.
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::event!(target: TARGET, tracing::Level::$level, suppressed, $($event)+);
        }
    }};
}
#[cfg(feature = "tracing")]
pub(super) use limited;

/// Reports a refusal, at a level that depends on the party at fault.
///
/// Anyone can cause client errors at will, so they must not fill the log of a service at its usual
/// level.
pub(super) fn refused(error: &VerifyError, by: RefusedBy, subject: Option<&str>) {
    #[cfg(feature = "tracing")]
    {
        let (reason, refused_by) = (error.kind().reason(), by.as_str());
        let subject = subject.map(truncate_name);
        // Without the field if no requirement refused the request.
        let requirement = error.unmet_requirement().map(|unmet| truncate(unmet, MAX_REQUIREMENT));
        match error.blame() {
            Blame::Client => {
                limited!(
                    DEBUG,
                    reason,
                    reason,
                    refused_by,
                    requirement,
                    subject,
                    "request refused"
                );
            }
            // Anyone can name a key that does not exist or can't be used, or none.
            Blame::AuthorizationServer if is_about_keys(error.kind()) => {
                limited!(DEBUG, reason, reason, refused_by, subject, "request refused");
            }
            Blame::AuthorizationServer => limited!(
                WARN,
                reason,
                reason,
                refused_by,
                subject,
                cause = %Chain(error),
                "token could not be verified"
            ),
            // A transient failure, not a misconfiguration.
            Blame::ResourceServer if error.kind() == ErrorKind::ReplayUnavailable => limited!(
                WARN,
                reason,
                reason,
                refused_by,
                subject,
                cause = %Chain(error),
                "proof could not be recorded"
            ),
            Blame::ResourceServer if error.kind() == ErrorKind::TooManyStreams => limited!(
                WARN,
                reason,
                reason,
                refused_by,
                subject,
                cause = %Chain(error),
                "too many streams are open"
            ),
            Blame::ResourceServer => limited!(
                ERROR,
                reason,
                reason,
                refused_by,
                subject,
                cause = %Chain(error),
                "resource server misconfigured"
            ),
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (error, by, subject);
}

/// Returns true for refusals that a made-up token can cause without a failure of the server.
#[cfg(feature = "tracing")]
const fn is_about_keys(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::KeyPending | ErrorKind::UnusableKey | ErrorKind::UntriedKeys)
}

/// Reports a request that an observed requirement, which is not enforced, would have refused.
pub(super) fn would_have_refused(observer: &str, error: &VerifyError) {
    #[cfg(feature = "tracing")]
    {
        let reason = error.kind().reason();
        let requirement = error.unmet_requirement().map(|unmet| truncate(unmet, MAX_REQUIREMENT));
        limited!(DEBUG, reason, observer, reason, requirement, "request would be refused");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (observer, error);
}

/// Reports that a stream ended before its handler was done.
pub(super) fn stream_ended(reason: &'static str, unverified: Option<&VerifyError>) {
    #[cfg(feature = "tracing")]
    match unverified {
        Some(error) => limited!(WARN, reason, reason, cause = %Chain(error), "stream ended"),
        None => limited!(DEBUG, reason, reason, "stream ended"),
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (reason, unverified);
}

/// Reports that the refusal hook of the application panicked, which would otherwise go unnoticed.
pub(crate) fn hook_panicked() {
    #[cfg(feature = "tracing")]
    limited!(ERROR, "hook_panicked", "the refusal hook panicked");
}

/// Reports that the time of a cutoff was too far in the future and was cut.
pub(crate) fn cutoff_time_cut(issuer: &str, ahead: Duration) {
    #[cfg(feature = "tracing")]
    limited!(
        ERROR,
        "cutoff_time",
        issuer = truncate_name(issuer),
        ahead_seconds = ahead.as_secs(),
        "time of a cutoff is in the future"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, ahead);
}

/// Reports that the keys of an issuer were fetched.
pub(crate) fn keys_fetched(issuer: &str, keys: usize) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: TARGET, issuer, keys, "keys fetched");
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, keys);
}

/// Reports that the keys of an issuer could not be fetched. Requests are not affected while the
/// last keys are still in use.
pub(crate) fn keys_not_fetched(issuer: &str, error: &VerifyError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: TARGET, issuer, cause = %Chain(error), "keys could not be fetched");
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, error);
}

/// Reports, once for each verifier, that all access tokens of an issuer have the type `at+jwt`, so
/// that the strict profile would admit them too.
pub(crate) fn access_tokens_have_type(issuer: &str) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        target: TARGET,
        issuer,
        "all access tokens have the type at+jwt; consider `Profile::Rfc9068`"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = issuer;
}

/// Reports a key of a JWK Set that was left out because it is not meant for this purpose.
pub(crate) fn key_left_out(index: usize, reason: &impl fmt::Display) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: TARGET, index, %reason, "key of a JWK Set left out");
    #[cfg(not(feature = "tracing"))]
    let _ = (index, reason);
}

/// Reports a published key with which the tokens that it signed can't be verified. The key is told
/// by its `kid`, if it has one, and no issuer is known for a configured set.
pub(crate) fn key_unusable(issuer: Option<&str>, kid: Option<&str>, reason: &impl fmt::Display) {
    #[cfg(feature = "tracing")]
    limited!(
        WARN,
        "key_unusable",
        issuer,
        kid = kid.map(truncate_name),
        %reason,
        "a published key can't be used; tokens signed with it can't be verified"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, kid, reason);
}

/// Reports that an issuer publishes a private key, or a secret.
pub(crate) fn private_key_published(issuer: Option<&str>, kid: Option<&str>) {
    #[cfg(feature = "tracing")]
    limited!(
        WARN,
        "private_key_published",
        issuer,
        kid = kid.map(truncate_name),
        "a published key contains its private half; it must be replaced"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, kid);
}

/// Reports that a transport was rebuilt because its files changed, or why it could not be.
///
/// The old one stays in use then, and servers will refuse its certificate some day.
pub(crate) fn transport_renewed(result: Result<(), &ConfigError>) {
    #[cfg(feature = "tracing")]
    match result {
        Ok(()) => tracing::debug!(target: TARGET, "transport rebuilt"),
        Err(problems) => {
            let cause = one_line(problems);
            tracing::warn!(target: TARGET, cause, "transport could not be rebuilt");
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = result;
}

/// Reports that the credentials of this service were read again because their files changed, or why
/// they could not be.
///
/// The old ones stay in use then, and the authorization server will refuse them some day.
#[cfg(feature = "introspection")]
pub(crate) fn credentials_renewed(result: Result<(), &ConfigError>) {
    #[cfg(feature = "tracing")]
    match result {
        Ok(()) => tracing::debug!(target: TARGET, "credentials read again"),
        Err(problems) => {
            let cause = one_line(problems);
            tracing::warn!(target: TARGET, cause, "credentials could not be read again");
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = result;
}

#[cfg(feature = "tracing")]
fn one_line(problems: &ConfigError) -> String {
    let all = problems.problems().map(|(name, problem)| format!("{name}: {problem}"));
    all.collect::<Vec<_>>().join("; ")
}

/// Reports that one peer sends nearly all tokens, as a load balancer does.
pub(crate) fn one_peer_sends_nearly_all() {
    #[cfg(feature = "tracing")]
    limited!(WARN, "one_peer", "one peer sends nearly all tokens");
}

/// Reports that the introspection endpoint of an issuer was found in another state: by an introspection
/// that failed with `error`, if it failed.
pub(crate) fn server_state_changed(
    issuer: &str,
    before: ServerState,
    after: ServerState,
    error: Option<&VerifyError>,
) {
    #[cfg(feature = "tracing")]
    {
        let (before, state) = (before.as_str(), after.as_str());
        let cause = error.map(|error| tracing::field::display(Chain(error)));
        match after {
            ServerState::Unknown | ServerState::Answers => {
                tracing::info!(target: TARGET, issuer, before, state, "authorization server answers");
            }
            ServerState::AcceptsAnything => tracing::error!(
                target: TARGET,
                issuer,
                before,
                state,
                "authorization server calls a random token active"
            ),
            ServerState::RejectsCredentials => tracing::error!(
                target: TARGET,
                issuer,
                before,
                state,
                cause,
                "authorization server rejects the credentials of this service"
            ),
            _ => {
                let hint = (after == ServerState::RefusesEveryone).then_some(REFUSES_EVERYONE_HINT);
                tracing::warn!(
                    target: TARGET,
                    issuer,
                    before,
                    state,
                    cause,
                    hint,
                    "authorization server does not answer"
                );
            }
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, before, after, error);
}

/// Some servers name neither the credentials nor a challenge when they refuse them (RFC 6749 §5.2).
#[cfg(feature = "tracing")]
const REFUSES_EVERYONE_HINT: &str =
    "the credentials of this service may be wrong, or its client may not introspect";

/// Records the subject of an admitted token in the span around it, if that declares the field.
pub(crate) fn subject_admitted(subject: &str) {
    #[cfg(feature = "tracing")]
    tracing::Span::current().record("subject", truncate_name(subject));
    #[cfg(not(feature = "tracing"))]
    let _ = subject;
}

#[cfg(feature = "tracing")]
pub(super) fn truncate_name(name: &str) -> &str {
    truncate(name, MAX_NAME)
}

#[cfg(feature = "tracing")]
fn truncate(text: &str, max: usize) -> &str {
    let end = (0..=text.len().min(max)).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}
