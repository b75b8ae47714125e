//! Checks the cache settings against the lifetimes of tokens and the latency of introspection.

use serde_json::json;

use super::Doctor;
use crate::{finding::Findings, when};

impl Doctor<'_> {
    pub(super) fn check_cache(&mut self) {
        let mut findings = Findings::default();
        let settings = &self.deployment.settings;
        let (max_age, jwt) = (settings.max_age.as_secs(), settings.jwt_max_age.as_secs());
        let stale = settings.stale_if_error.as_secs();
        let introspects = settings.issuers.iter().any(|issuer| issuer.client.is_some());
        let verifies =
            settings.issuers.iter().any(|issuer| matches!(issuer.mode, "jwt" | "hybrid"));
        if introspects {
            let span = when::span(max_age.into());
            findings.note(
                "max_age",
                format!(
                    "introspected tokens are cached for {span}: a revoked token may be accepted \
                     for that long"
                ),
            );
            if max_age == 0 && self.slowest > 0 {
                findings.warn(
                    "no_cache",
                    format!(
                        "nothing is cached: every request waits for an introspection ({} ms)",
                        self.slowest
                    ),
                );
            }
        }
        if verifies {
            let span = when::span(jwt.into());
            findings.note(
                "jwt_max_age",
                format!(
                    "JWTs are cached for {span}, and are accepted until they expire, revoked or not"
                ),
            );
        }
        if stale > 0 {
            let span = when::span(stale.into());
            findings.warn(
                "stale_if_error",
                format!(
                    "during an outage introspected tokens are accepted for another {span}, revoked \
                     or not"
                ),
            );
        }
        if self.lifetimes.is_empty() {
            let text = "the lifetimes of tokens are not known: no admitted token named one";
            findings.note("no_lifetimes", text);
        }
        for lifetime in &self.lifetimes {
            let (token, span) = (&lifetime.token, when::span(lifetime.seconds.into()));
            if lifetime.jwt && lifetime.seconds > 3600 {
                findings.warn(
                    "jwt_long_lived",
                    format!(
                        "{token}: the JWT is valid for {span} and can't be revoked: introspect it, \
                         or issue it with a shorter lifetime"
                    ),
                );
            }
            if !lifetime.jwt && lifetime.seconds <= max_age {
                findings.warn(
                    "max_age_longer_than_tokens",
                    format!(
                        "{token}: the token is valid for {span}, no longer than it is cached: \
                         revoking it has no effect here"
                    ),
                );
            }
            if lifetime.seconds <= settings.leeway.as_secs() {
                findings.warn(
                    "leeway_longer_than_tokens",
                    format!(
                        "{token}: the token is valid for {span}, no longer than the leeway ({} s)",
                        settings.leeway.as_secs()
                    ),
                );
            }
        }
        let more = json!({"max_age": max_age, "jwt_max_age": jwt, "stale_if_error": stale});
        self.add_section("Cache", findings, more);
    }
}
