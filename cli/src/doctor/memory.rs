//! What is remembered, against how long tokens live and how slow their server is.

use serde_json::json;

use super::Doctor;
use crate::{finding::Findings, when};

impl Doctor<'_> {
    pub(super) fn memory(&mut self) {
        let mut findings = Findings::default();
        let settings = &self.deployed.settings;
        let (max_age, jwt) = (settings.max_age.as_secs(), settings.jwt_max_age.as_secs());
        let stale = settings.stale_if_error.as_secs();
        let asks = settings.issuers.iter().any(|issuer| issuer.client.is_some());
        let verifies = settings.issuers.iter().any(|issuer| issuer.mode != "introspect");
        if asks {
            let span = when::span(max_age.into());
            findings.note("max_age", format!(
                "introspected tokens are remembered for {span}: a revoked one may pass that long"
            ));
            if max_age == 0 && self.slowest > 0 {
                findings.warn("no_memory", format!(
                    "nothing is remembered: every request waits for the introspection, {} ms now",
                    self.slowest
                ));
            }
        }
        if verifies {
            let span = when::span(jwt.into());
            findings.note(
                "jwt_max_age",
                format!(
                    "JWTs are remembered for {span}, and pass until they expire, revoked or not"
                ),
            );
        }
        if stale > 0 {
            let span = when::span(stale.into());
            findings.warn(
                "stale_if_error",
                format!(
                    "during an outage introspected tokens pass for another {span}, revoked or not"
                ),
            );
        }
        if self.lifetimes.is_empty() {
            findings.note(
                "no_lifetimes",
                "no token was given, so their lifetimes are not known (--token-file)",
            );
        }
        for lifetime in &self.lifetimes {
            let (what, span) = (&lifetime.what, when::span(lifetime.seconds.into()));
            if lifetime.jwt && lifetime.seconds > 3600 {
                findings.warn(
                    "jwt_long_lived",
                    format!(
                        "{what}: a JWT that is good for {span} can't be taken back for that long; \
                         have it introspected, or issue it for less"
                    ),
                );
            }
            if !lifetime.jwt && lifetime.seconds <= max_age {
                findings.warn(
                    "max_age_longer_than_tokens",
                    format!(
                        "{what}: it is good for {span}, no longer than it is remembered: revoking \
                         it has no effect here"
                    ),
                );
            }
            if lifetime.seconds <= settings.leeway.as_secs() {
                findings.warn(
                    "leeway_longer_than_tokens",
                    format!(
                        "{what}: it is good for {span}, no longer than clocks may be off ({} s)",
                        settings.leeway.as_secs()
                    ),
                );
            }
        }
        let more = json!({"max_age": max_age, "jwt_max_age": jwt, "stale_if_error": stale});
        self.section("Memory", findings, more);
    }
}
