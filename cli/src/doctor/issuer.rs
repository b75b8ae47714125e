//! Checks each issuer and its keys.

use std::path::Path;

use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tower_introspect::{
    ErrorKind,
    inspect::{self, IssuerSettings},
};

use super::{Doctor, discovery};
use crate::{
    finding::{Finding, Findings, Level},
    input,
    keys::{
        self,
        jwk::Key,
        set::{Set, Settings},
    },
    net::Exchange,
    report::Failure,
};

/// The most keys to list.
const MAX_KEYS: usize = 8;

impl Doctor<'_> {
    /// Lets the library fetch metadata and keys, and checks each issuer.
    pub(super) fn check_issuers(&mut self) {
        let server = self.server.clone();
        let warmed = self.cx.wait("fetching metadata and keys", async { server.warm().await });
        let fetched = self.transport.take();
        let settings = std::mem::take(&mut self.deployment.settings.issuers);
        for (at, issuer) in settings.iter().enumerate() {
            let more = self.check_issuer(at, issuer, &fetched);
            // Otherwise the cause is known.
            if !self.found.has_problem() {
                self.check_readiness(at, warmed.as_ref().err());
            }
            if self.found.has_problem() {
                self.troubled.push(issuer.issuer.clone());
            }
            let title = format!("Issuer {} ({})", issuer.issuer, issuer.mode);
            self.add_section(title, more);
        }
        self.deployment.settings.issuers = settings;
    }

    fn check_issuer(&mut self, at: usize, issuer: &IssuerSettings, fetched: &[Exchange]) -> Value {
        let urls = inspect::metadata_urls(&issuer.issuer);
        let of_metadata = |one: &&Exchange| urls.contains(&one.request.uri().to_string());
        let mut exchanges: Vec<&Exchange> = fetched.iter().filter(of_metadata).collect();
        let finds_keys = issuer.jwks_uri.is_none() && issuer.jwks_file.is_none();
        let discovers = issuer.mode != "jwt" && issuer.endpoint.is_none()
            || issuer.mode != "introspect" && finds_keys;
        let metadata = match discovers {
            true => self.check_metadata(issuer, &exchanges),
            false => self.compare_issuer(issuer),
        };
        let jwks_uri = issuer.jwks_uri.clone();
        let discovered = || metadata["jwks_uri"].as_str().map(str::to_owned);
        let jwks_uri = jwks_uri.or_else(discovered).unwrap_or_default();
        let mut keys = Value::Null;
        // Parsed, so that different spellings of a URL compare equal.
        let jwks_uri: Option<Uri> = jwks_uri.parse().ok();
        for exchange in fetched.iter().filter(|one| Some(one.request.uri()) == jwks_uri.as_ref()) {
            exchanges.push(exchange);
            if keys.is_null() {
                keys = self.check_fetched_keys(exchange, issuer);
            }
        }
        if let Some(path) = &issuer.jwks_file {
            keys = self.check_key_file(path, issuer);
        }
        let has_endpoint =
            issuer.endpoint.is_some() || discovery::endpoint(issuer, &metadata).is_some();
        let introspections = match has_endpoint {
            true => self.try_credentials(at, issuer),
            false => Vec::new(),
        };
        exchanges.extend(&introspections);
        self.check_certificates(&exchanges);
        self.check_clock(&exchanges);
        json!({ "issuer": issuer.issuer, "metadata": metadata, "keys": keys })
    }

    fn check_readiness(&mut self, at: usize, late: Option<&Failure>) {
        let Some(state) = self.server.readiness().into_iter().nth(at) else { return };
        if state.is_ready() {
            return;
        }
        if let Some(late) = late {
            return self.found.unknown("timeout").text(&late.message);
        }
        let failure = state.failure();
        let reason = failure.map_or("nothing was fetched", |kind| kind.reason());
        let text = format!("the library is not ready for tokens of this issuer: {reason}");
        match failure {
            Some(ErrorKind::Unavailable) | None => self.found.unknown("not_ready").text(text),
            Some(_) => self.found.bad("not_ready").text(text),
        }
    }

    fn check_fetched_keys(&mut self, exchange: &Exchange, issuer: &IssuerSettings) -> Value {
        let url = exchange.request.uri();
        let mut own = Findings::default();
        keys::check_response(exchange, &mut own);
        let all = own.0.into_iter().filter(|finding| finding.level > Level::Good);
        let told = |one: Finding| Finding { text: format!("keys at {url}: {}", one.text), ..one };
        let response = exchange.response().filter(|one| one.status() == StatusCode::OK);
        let set = response.map(|response| self.read_keys(response.body(), issuer));
        if let Some(set) = &set {
            self.compare_keys(&issuer.issuer, set);
        }
        self.found.0.extend(all.map(told));
        let Some(set) = set else { return Value::Null };
        self.check_key_set(&set, &url.to_string());
        if let Some(algorithms) = &issuer.algorithms {
            let published =
                |alg| set.keys.iter().any(|key| key.used && key.fact("alg") == Some(alg));
            let all_have_alg = set.keys.iter().all(|key| key.fact("alg").is_some());
            for algorithm in algorithms.iter().filter(|_| all_have_alg) {
                if !published(algorithm.as_str()) {
                    let text = format!("{algorithm} is allowed, but no key is published for it");
                    self.found.warn("algorithm_without_key").text(text);
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
        Set::read(text, self.today(), settings)
    }

    fn check_key_file(&mut self, path: &Path, issuer: &IssuerSettings) -> Value {
        self.found.note("jwks_file").text(format!(
            "the keys are read from `{}`, and do not follow rotations of the issuer",
            path.display()
        ));
        let Ok(text) = input::file(path) else { return Value::Null };
        let set = self.read_keys(&text, issuer);
        self.check_key_set(&set, &format!("`{}`", path.display()));
        set.keys.iter().map(Key::to_json).collect()
    }

    /// Lists the keys in one line, and each problem once with all keys that have it.
    pub(super) fn check_key_set(&mut self, set: &Set, place: &str) {
        let name = |key: &Key| format!("`{}`", key.kid.as_deref().unwrap_or("(no kid)"));
        let used: Vec<_> = set.keys.iter().filter(|key| key.used).collect();
        if !used.is_empty() {
            let of = |key: &&Key| {
                let facts: Vec<_> = key.facts.iter().map(|(_, value)| &**value).collect();
                format!("{} ({})", name(key), facts.join(" "))
            };
            let list: Vec<_> = used.iter().take(MAX_KEYS).map(of).collect();
            let more = if used.len() > MAX_KEYS { ", .." } else { "" };
            self.found.good("keys_used").text(format!(
                "{} of the {} keys at {place} are used: {}{more}",
                used.len(),
                set.keys.len(),
                list.join(", ")
            ));
        }
        self.found.0.extend(set.findings.0.iter().filter(|one| one.code != "keys_used").cloned());
        let mut problems: Vec<(Finding, Vec<String>)> = Vec::new();
        for key in &set.keys {
            for one in key.findings.0.iter().filter(|one| one.level > Level::Note) {
                let same = |(known, _): &&mut (Finding, _)| {
                    (known.code, &known.text) == (one.code, &one.text)
                };
                match problems.iter_mut().find(same) {
                    Some((_, keys)) => keys.push(name(key)),
                    None => problems.push((one.clone(), vec![name(key)])),
                }
            }
            if let Some(certificate) = &key.certificate {
                let what = format!("x5c of key {}", key.kid.as_deref().unwrap_or("(no kid)"));
                self.runbook.add_expiry(&what, certificate.not_after);
            }
        }
        for (one, keys) in problems {
            // Deployments with loopback URLs are for tests, and may use published keys.
            let for_tests = self.deployment.settings.loopback_http && one.code == "key_known";
            let level = if for_tests { Level::Warning } else { one.level };
            let plural = if keys.len() == 1 { "" } else { "s" };
            let text = format!("key{plural} {}: {}", keys.join(", "), one.text);
            self.found.add(level, one.code, text);
        }
    }
}
