//! Checks the cache settings against the lifetimes of tokens and the latency of introspection.

use serde_json::json;

use super::{Doctor, Lifetime};
use crate::when;

impl Doctor<'_> {
    pub(super) fn check_cache(&mut self) {
        let settings = &self.deployment.settings;
        let (max_age, jwt) = (settings.max_age.as_secs(), settings.jwt_max_age.as_secs());
        let (stale, leeway) = (settings.stale_if_error.as_secs(), settings.leeway.as_secs());
        let span = |seconds: u64| when::span(seconds.into());
        if settings.issuers.iter().any(|issuer| issuer.client.is_some()) {
            let kept = format!("introspected tokens are cached for {}", span(max_age));
            let text = format!("{kept}: a revoked token may be accepted for that long");
            self.found.note("max_age").text(text);
            if max_age == 0 && self.slowest > 0 {
                let each = "nothing is cached: every request waits for an introspection";
                self.found.warn("no_cache").text(format!("{each} ({} ms)", self.slowest));
            }
        }
        if settings.issuers.iter().any(|issuer| matches!(issuer.mode, "jwt" | "hybrid")) {
            let kept = format!("JWTs are cached for {}", span(jwt));
            let but = match self.deployment.settings.signals {
                Some(_) => "unless a signal revokes them",
                None => "revoked or not",
            };
            let text = format!("{kept}, and are accepted until they expire, {but}");
            self.found.note("jwt_max_age").text(text);
        }
        if stale > 0 {
            let more = format!("accepted for another {}, revoked or not", span(stale));
            let text = format!("during an outage introspected tokens are {more}");
            self.found.warn("stale_if_error").text(text);
        }
        if self.lifetimes.is_empty() {
            let text = "the lifetimes of tokens are not known: no admitted token named one";
            self.found.note("no_lifetimes").text(text);
        }
        for Lifetime { token, seconds, jwt } in &self.lifetimes {
            let valid = format!("{token}: the token is valid for {}", span(*seconds));
            if *jwt && *seconds > 3600 {
                let text = format!(
                    "{valid} and can't be revoked: introspect it, or issue it with a shorter \
                     lifetime"
                );
                self.found.warn("jwt_long_lived").text(text);
            }
            if !jwt && *seconds <= max_age {
                let text = format!("{valid}, no longer than it is cached: to revoke it is in vain");
                self.found.warn("max_age_longer_than_tokens").text(text);
            }
            if *seconds <= leeway {
                let text = format!("{valid}, no longer than the leeway ({leeway} s)");
                self.found.warn("leeway_longer_than_tokens").text(text);
            }
        }
        let more = json!({"max_age": max_age, "jwt_max_age": jwt, "stale_if_error": stale});
        self.add_section("Cache", more);
    }
}
