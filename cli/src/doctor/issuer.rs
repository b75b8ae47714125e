//! Checks each issuer and its keys.

use std::path::Path;

use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tower_introspect::{ErrorKind, inspect::IssuerSettings};

use super::{
    Doctor,
    discovery::{check_document, metadata_urls},
};
use crate::{
    finding::{Findings, Level},
    input,
    keys::{
        self,
        jwk::Key,
        set::{Set, Settings},
    },
    net::Exchange,
};

impl Doctor<'_> {
    /// Lets the library fetch metadata and keys, and checks each issuer.
    pub(super) fn check_issuers(&mut self) {
        let server = self.server.clone();
        let warmed = self.cx.wait("fetching metadata and keys", async { server.warm().await });
        let fetched = self.transport.take();
        let settings = std::mem::take(&mut self.deployment.settings.issuers);
        for (at, issuer) in settings.iter().enumerate() {
            let mut findings = Findings::default();
            if let Err(failure) = &warmed {
                findings.unknown("timeout", &failure.message);
            }
            let more = self.check_issuer(at, issuer, &fetched, &mut findings);
            let title = format!("Issuer {} ({})", issuer.issuer, issuer.mode);
            self.add_section(title, findings, more);
        }
        self.deployment.settings.issuers = settings;
    }

    fn check_issuer(
        &mut self,
        at: usize,
        issuer: &IssuerSettings,
        fetched: &[Exchange],
        findings: &mut Findings,
    ) -> Value {
        let mut exchanges: Vec<&Exchange> = Vec::new();
        let mut metadata = Value::Null;
        let mut urls = metadata_urls(&issuer.issuer);
        urls.dedup();
        for url in &urls {
            let mut checked = false;
            for exchange in fetched.iter().filter(|one| one.request.uri() == url.as_str()) {
                exchanges.push(exchange);
                // Keys and introspection fetch the metadata each; it is checked once.
                if !std::mem::replace(&mut checked, true)
                    && let Some(found) = check_document(exchange, &issuer.issuer, findings)
                {
                    metadata = found;
                }
            }
        }
        self.check_metadata(issuer, &metadata, findings);
        let jwks_uri = issuer
            .jwks_uri
            .clone()
            .or_else(|| metadata["jwks_uri"].as_str().map(str::to_owned))
            .unwrap_or_default();
        let mut keys = Value::Null;
        // Parsed, so that different spellings of a URL compare equal.
        let jwks_uri: Option<Uri> = jwks_uri.parse().ok();
        for exchange in fetched.iter().filter(|one| Some(one.request.uri()) == jwks_uri.as_ref()) {
            exchanges.push(exchange);
            if keys.is_null() {
                keys = self.check_fetched_keys(exchange, issuer, findings);
            }
        }
        if let Some(path) = &issuer.jwks_file {
            keys = self.check_key_file(path, issuer, findings);
        }
        let introspections = self.check_credentials(at, issuer, findings);
        exchanges.extend(&introspections);
        self.check_certificates(&exchanges, findings);
        self.check_clock(&exchanges, findings);
        if let Some(state) = self.server.readiness().into_iter().nth(at)
            && !state.is_ready()
        {
            let failure = state.failure();
            let reason = failure.map_or("nothing was fetched", |kind| kind.reason());
            let text = format!("the library is not ready for tokens of this issuer: {reason}");
            match failure {
                Some(ErrorKind::Unavailable) | None => findings.unknown("not_ready", text),
                Some(_) => findings.bad("not_ready", text),
            }
        }
        json!({ "issuer": issuer.issuer, "metadata": metadata, "keys": keys })
    }

    fn check_fetched_keys(
        &mut self,
        exchange: &Exchange,
        issuer: &IssuerSettings,
        findings: &mut Findings,
    ) -> Value {
        let url = exchange.request.uri();
        findings.note("jwks_uri", format!("the keys are at {url}:"));
        keys::check_response(exchange, findings);
        let Some(response) = exchange.response().filter(|one| one.status() == StatusCode::OK)
        else {
            return Value::Null;
        };
        let set = self.read_keys(response.body(), issuer);
        self.check_key_set(&set, findings);
        self.compare_keys(&issuer.issuer, &set, findings);
        if let Some(algorithms) = &issuer.algorithms {
            let published = |alg: &str| {
                set.keys
                    .iter()
                    .filter(|key| key.used)
                    .any(|key| key.facts.iter().any(|(name, value)| *name == "alg" && value == alg))
            };
            let all_have_alg =
                set.keys.iter().all(|key| key.facts.iter().any(|(name, _)| *name == "alg"));
            for algorithm in algorithms.iter().filter(|_| all_have_alg) {
                if !published(algorithm.as_str()) {
                    findings.warn(
                        "algorithm_without_key",
                        format!("{algorithm} is allowed, but no key is published for it"),
                    );
                }
            }
        }
        set.keys.iter().map(Key::to_json).collect()
    }

    fn read_keys(&self, text: &[u8], issuer: &IssuerSettings) -> Set {
        let default = Settings::default();
        // The keys of a file are limited by the default.
        let fetched = issuer.max_keys.filter(|_| issuer.jwks_file.is_none());
        let settings = Settings {
            issuer: Some(&issuer.issuer),
            max_keys: fetched.unwrap_or(default.max_keys),
            max_keys_tried: issuer.max_keys_tried.unwrap_or(default.max_keys_tried),
        };
        Set::read(text, self.cx.now(), self.args.warn_days, settings)
    }

    fn check_key_file(
        &mut self,
        path: &Path,
        issuer: &IssuerSettings,
        findings: &mut Findings,
    ) -> Value {
        findings.note(
            "jwks_file",
            format!(
                "the keys are read from `{}`, and do not follow rotations of the issuer",
                path.display()
            ),
        );
        let Ok(text) = input::file(path) else { return Value::Null };
        let set = self.read_keys(&text, issuer);
        self.check_key_set(&set, findings);
        set.keys.iter().map(Key::to_json).collect()
    }

    fn check_key_set(&mut self, set: &Set, findings: &mut Findings) {
        findings.0.extend(set.findings.0.iter().cloned());
        for key in &set.keys {
            let kid = key.kid.as_deref().unwrap_or("(no kid)");
            let facts: Vec<_> = key.facts.iter().map(|(_, value)| &**value).collect();
            findings.note("key", format!("key `{kid}`: {}", facts.join(" ")));
            for one in key.findings.0.iter().filter(|one| one.level > Level::Note) {
                // Deployments with loopback URLs are for tests, and may use published keys.
                let for_tests = self.deployment.settings.loopback_http && one.code == "key_known";
                let level = if for_tests { Level::Warning } else { one.level };
                findings.add(level, one.code, format!("key `{kid}`: {}", one.text));
            }
            if let Some(certificate) = &key.certificate {
                self.runbook.add_expiry(&format!("x5c of key {kid}"), certificate.not_after);
            }
        }
    }
}
