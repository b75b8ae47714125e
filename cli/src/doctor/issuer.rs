//! One issuer, and its keys.

use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tower_introspect::{ErrorKind, inspect::IssuerSettings};

use super::{
    Doctor,
    discovery::{document, documents},
};
use crate::{
    finding::{Findings, Level},
    keys::{self, jwk::Key, set::Set},
    net::Exchange,
};

impl Doctor<'_> {
    /// Has the library fetch what it would, and looks at each issuer.
    pub(super) fn issuers(&mut self) {
        let server = self.server.clone();
        let waited = self.cx.wait("metadata and keys", async { server.warm().await });
        let fetched = self.wire.take();
        let settings = std::mem::take(&mut self.deployed.settings.issuers);
        for (at, issuer) in settings.iter().enumerate() {
            let mut findings = Findings::default();
            if let Err(failure) = &waited {
                findings.unknown("timeout", &failure.message);
            }
            let more = self.issuer(at, issuer, &fetched, &mut findings);
            let title = format!("Issuer {} ({})", issuer.issuer, issuer.mode);
            self.section(title, findings, more);
        }
        self.deployed.settings.issuers = settings;
    }

    fn issuer(
        &mut self,
        at: usize,
        issuer: &IssuerSettings,
        fetched: &[Exchange],
        findings: &mut Findings,
    ) -> Value {
        let documents = documents(&issuer.issuer);
        let mut mine: Vec<&Exchange> = Vec::new();
        let mut metadata = Value::Null;
        for url in &documents {
            let mut told = false;
            for exchange in fetched.iter().filter(|one| one.request.uri() == url.as_str()) {
                mine.push(exchange);
                // Keys and questions each find their own way.
                if !std::mem::replace(&mut told, true)
                    && let Some(found) = document(exchange, &issuer.issuer, findings)
                {
                    metadata = found;
                }
            }
        }
        self.discovered(issuer, &metadata, findings);
        let jwks_uri = issuer
            .jwks_uri
            .clone()
            .or_else(|| metadata["jwks_uri"].as_str().map(str::to_owned))
            .unwrap_or_default();
        let mut keys = Value::Null;
        // As a URL, so that it compares with what was asked for however it was written.
        let jwks_uri: Option<Uri> = jwks_uri.parse().ok();
        for exchange in fetched.iter().filter(|one| Some(one.request.uri()) == jwks_uri.as_ref()) {
            mine.push(exchange);
            if keys.is_null() {
                keys = self.keys(exchange, issuer, findings);
            }
        }
        if let Some(path) = &issuer.jwks_file {
            keys = self.pinned(path, findings);
        }
        let asked = self.credentials(at, issuer, findings);
        mine.extend(&asked);
        self.certificates(&mine, findings);
        self.clock(&mine, findings);
        if let Some(state) = self.server.readiness().into_iter().nth(at)
            && !state.is_ready()
        {
            let why = state.failure();
            let text = why.map_or("nothing was fetched", |kind| kind.reason());
            let text = format!("the library is not ready for its tokens: {text}");
            match why {
                Some(ErrorKind::Unavailable) | None => findings.unknown("not_ready", text),
                Some(_) => findings.bad("not_ready", text),
            }
        }
        json!({ "issuer": issuer.issuer, "metadata": metadata, "keys": keys })
    }

    fn keys(
        &mut self,
        exchange: &Exchange,
        issuer: &IssuerSettings,
        findings: &mut Findings,
    ) -> Value {
        let url = exchange.request.uri();
        findings.note("jwks_uri", format!("keys at {url}:"));
        keys::answered(exchange, findings);
        let Some(response) = exchange.response().filter(|one| one.status() == StatusCode::OK)
        else {
            return Value::Null;
        };
        let set = Set::read(response.body(), self.cx.now(), self.args.warn_days);
        self.judge_keys(&set, findings);
        self.rotated(&issuer.issuer, &set, findings);
        if let Some(algorithms) = &issuer.algorithms {
            let published = |alg: &str| {
                set.keys
                    .iter()
                    .filter(|key| key.used)
                    .any(|key| key.facts.iter().any(|(name, value)| *name == "alg" && value == alg))
            };
            let bound = set.keys.iter().all(|key| key.facts.iter().any(|(name, _)| *name == "alg"));
            for algorithm in algorithms.iter().filter(|_| bound) {
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

    fn pinned(&mut self, path: &std::path::Path, findings: &mut Findings) -> Value {
        findings.note(
            "jwks_file",
            format!(
                "keys are taken from `{}`: they follow no rotation of the issuer's",
                path.display()
            ),
        );
        let Ok(text) = crate::input::file(path) else { return Value::Null };
        let set = Set::read(&text, self.cx.now(), self.args.warn_days);
        self.judge_keys(&set, findings);
        set.keys.iter().map(Key::to_json).collect()
    }

    fn judge_keys(&mut self, set: &Set, findings: &mut Findings) {
        findings.0.extend(set.findings.0.iter().cloned());
        for key in &set.keys {
            let kid = key.kid.as_deref().unwrap_or("(no kid)");
            let facts: Vec<_> = key.facts.iter().map(|(_, value)| &**value).collect();
            findings.note("key", format!("key `{kid}`: {}", facts.join(" ")));
            let worth = key.findings.0.iter().filter(|one| one.level > Level::Note);
            for one in worth {
                // Whoever takes loopback URLs is trying things, with these keys as like as not.
                let trying = self.deployed.settings.loopback_http && one.code == "key_known";
                let level = if trying { Level::Warning } else { one.level };
                findings.add(level, one.code, format!("key `{kid}`: {}", one.text));
            }
            if let Some(certificate) = &key.certificate {
                self.runbook.expires(&format!("x5c of key {kid}"), certificate.not_after);
            }
        }
    }
}
