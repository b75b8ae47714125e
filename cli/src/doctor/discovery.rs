//! Checks the metadata of an issuer.

use http::{StatusCode, Uri, header};
use serde_json::Value;
use tower_introspect::inspect::{self, IssuerSettings};

use super::Doctor;
use crate::{
    diagnosis::Setting,
    exchange::{header_text, summary},
    finding::{Finding, Findings, Level},
    keys,
    net::Exchange,
};

/// The most bytes of metadata that the library accepts.
const LIMIT: usize = 256 * 1024;

impl Doctor<'_> {
    /// Returns the metadata that the library fetched, after checking it.
    pub(super) fn check_metadata(
        &mut self,
        issuer: &IssuerSettings,
        exchanges: &[&Exchange],
        findings: &mut Findings,
    ) -> Value {
        let mut problems: Vec<Finding> = Vec::new();
        for exchange in exchanges {
            match self.read_document(exchange, &issuer.issuer) {
                Ok(metadata) => {
                    // The library takes the first that it can use.
                    for problem in problems.iter().filter(|problem| problem.level > Level::Warning)
                    {
                        findings.note(problem.code).text(&problem.text);
                    }
                    let (url, millis) = (exchange.request.uri(), exchange.millis());
                    let text = format!(
                        "the metadata is at {url}, and names the issuer exactly ({millis} ms)"
                    );
                    findings.good("metadata").text(text);
                    self.check_endpoints(issuer, &metadata, findings);
                    return metadata;
                }
                // Keys and introspection fetch the metadata each.
                Err(Some(problem)) if problems.iter().all(|one| one.text != problem.text) => {
                    problems.push(problem);
                }
                Err(_) => {}
            }
        }
        let worst = problems.iter().map(|problem| problem.level).max();
        problems.retain(|problem| Some(problem.level) == worst);
        let texts: Vec<_> = problems.iter().map(|problem| &*problem.text).collect();
        let text = texts.join("; ");
        if let Some(last) = problems.pop() {
            // A warning is that of a document that is not there. Here none is.
            let level = if last.level == Level::Warning { Level::Bad } else { last.level };
            findings.0.push(Finding { text, level, ..last });
        }
        Value::Null
    }

    /// Reads metadata that the service does not read, because the configuration has what it needs,
    /// and compares the issuer.
    pub(super) fn compare_issuer(&self, issuer: &IssuerSettings, findings: &mut Findings) -> Value {
        let mut problems = Vec::new();
        for url in inspect::metadata_urls(&issuer.issuer) {
            let Ok(uri) = url.parse::<Uri>() else { continue };
            let getting = self.transport.get(uri, "application/json", LIMIT);
            let waited = self.cx.wait("reading the metadata of the issuer", getting);
            let Some(exchange) = self.transport.take().pop() else { continue };
            match self.read_document(&exchange, &issuer.issuer) {
                Ok(metadata) => {
                    let text =
                        format!("{url} names the issuer exactly (this service does not read it)");
                    findings.good("metadata").text(text);
                    return metadata;
                }
                Err(Some(problem)) if problem.code == "issuer_mismatch" => {
                    findings.0.push(problem);
                    return Value::Null;
                }
                Err(problem) => problems.extend(problem.map(|problem| problem.text)),
            }
            if waited.is_err() {
                break;
            }
        }
        let why = if problems.is_empty() { "TLS failed".to_owned() } else { problems.join("; ") };
        findings.unseen("issuer_not_compared").text(format!(
            "whether `{}` is the name of the issuer to the letter was not seen, for lack of \
                 metadata ({why})",
            issuer.issuer
        ));
        Value::Null
    }

    /// Checks that the metadata has the URLs that the service needs.
    fn check_endpoints(
        &mut self,
        issuer: &IssuerSettings,
        metadata: &Value,
        findings: &mut Findings,
    ) {
        let name = &issuer.issuer;
        if issuer.mode != "jwt" && issuer.endpoint.is_none() {
            match introspection_endpoint(issuer, metadata) {
                Some(url) => {
                    self.runbook.add_setting(&format!("introspection of {name}"), url);
                    self.check_auth_methods(issuer, metadata, findings);
                }
                None => {
                    findings.bad("no_introspection_endpoint").text(format!(
                        "the metadata names no introspection endpoint, which it may leave out \
                             (RFC 8414 §2), and the mode `{}` needs one",
                        issuer.mode
                    ));
                    findings.change(format!(
                        "{}, as the documentation of the server has it: {}",
                        self.place().name(Setting::ENDPOINT),
                        self.place().line(Setting::ENDPOINT, "https://..")
                    ));
                    findings.change(format!(
                        "{}, if all its tokens are JWTs: {}",
                        self.place().name(Setting::MODE),
                        self.place().line(Setting::MODE, "jwt")
                    ));
                }
            }
        }
        let finds_keys =
            issuer.mode != "introspect" && issuer.jwks_uri.is_none() && issuer.jwks_file.is_none();
        match metadata["jwks_uri"].as_str().filter(|_| finds_keys) {
            Some(url) => self.runbook.add_setting(&format!("keys of {name}"), url),
            None if finds_keys => {
                findings.bad("no_jwks_uri").text(
                    "the metadata names no keys (`jwks_uri`), which it may leave out (RFC 8414 §2)",
                );
                let setting = self.place().name(Setting::KEYS);
                findings.change(format!("{setting}: set the URL of the keys"));
            }
            None => {}
        }
        let signing = metadata["introspection_signing_alg_values_supported"].is_array();
        if issuer.requires_signed_response && !signing {
            findings
                .warn("no_signed_responses")
                .text("the metadata lists no algorithm for signed introspection responses");
        }
    }

    fn check_auth_methods(
        &self,
        issuer: &IssuerSettings,
        metadata: &Value,
        findings: &mut Findings,
    ) {
        let Some(client) = &issuer.client else { return };
        let wanted: &[&str] = match client.method {
            "basic" | "basic_raw" => &["client_secret_basic"],
            "post" => &["client_secret_post"],
            "private_key_jwt" => &["private_key_jwt"],
            "client_secret_jwt" => &["client_secret_jwt"],
            "secret" => &["client_secret_basic", "client_secret_post", "client_secret_jwt"],
            _ => return,
        };
        let offered = metadata["introspection_endpoint_auth_methods_supported"].as_array();
        let Some(offered) = offered else { return };
        let offered: Vec<_> = offered.iter().filter_map(Value::as_str).collect();
        if !wanted.iter().any(|method| offered.contains(method)) {
            findings.warn("auth_method_not_offered").text(format!(
                "the configured method is `{}`, but the metadata lists {}",
                client.method,
                offered.join(", ")
            ));
            findings.change(format!("`method` of {}", self.place().name(Setting::CLIENT)));
        }
    }

    /// Returns the metadata document of a response, or the problem with it. The check of certificates
    /// reports problems with TLS.
    fn read_document(&self, exchange: &Exchange, issuer: &str) -> Result<Value, Option<Finding>> {
        let url = exchange.request.uri();
        let problem = |level, code, text: String| {
            let mut findings = Findings::default();
            findings.add(level, code, format!("{url}: {text}"));
            let setting = self.place().name(Setting::ISSUER);
            findings.change(match level {
                Level::Unknown => {
                    format!("let this machine reach the server, or correct {setting}")
                }
                _ => format!("{setting}: it may be spelled otherwise, or be another server"),
            });
            Err(findings.0.pop())
        };
        let response = match &exchange.outcome {
            Some(Ok(response)) => response,
            Some(Err(error)) if error.is_tls() => return Err(None),
            Some(Err(error)) => {
                return problem(Level::Unknown, "metadata_unreachable", error.describe());
            }
            None => {
                return problem(
                    Level::Unknown,
                    "metadata_unreachable",
                    "no response in time".into(),
                );
            }
        };
        let status = response.status();
        if status.is_redirection() {
            let text = format!("{}, which is not followed", summary(response));
            return problem(Level::Bad, "metadata_redirect", text);
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return problem(Level::Unknown, "metadata_status", summary(response));
        }
        if status != StatusCode::OK {
            return problem(Level::Warning, "metadata_status", summary(response));
        }
        if let Some(text) = keys::encoding_problem(response) {
            return problem(Level::Bad, "metadata_encoded", text);
        }
        let value: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        if !value.is_object() {
            let kind = header_text(response, &header::CONTENT_TYPE);
            let text = format!("not a JSON object ({kind})");
            return problem(Level::Bad, "metadata_no_json", text);
        }
        let Some(named) = value["issuer"].as_str() else {
            let text = "it names no issuer (RFC 8414 §3.3)".to_owned();
            return problem(Level::Bad, "issuer_mismatch", text);
        };
        if named == issuer {
            return Ok(value);
        }
        let slash = named.trim_end_matches('/') == issuer.trim_end_matches('/');
        let hint = if slash { ": only the final slash differs" } else { "" };
        let named: String = named.chars().take(200).collect();
        let mut findings = Findings::default();
        findings.bad("issuer_mismatch").text(format!(
            "the server names itself `{named}` ({url}), but `issuer` is `{issuer}`{hint}. Its \
                 tokens and responses that name it are refused"
        ));
        let setting = self.place().name(Setting::ISSUER);
        let line = self.place().line(Setting::ISSUER, &*named);
        findings.change(format!("{setting}, if that is the server: {line}"));
        Err(findings.0.pop())
    }
}

/// Returns the introspection endpoint in the metadata for the client of this issuer (RFC 8705 §5).
pub(super) fn introspection_endpoint<'a>(
    issuer: &IssuerSettings,
    metadata: &'a Value,
) -> Option<&'a str> {
    let by_certificate = issuer.client.as_ref().is_some_and(|client| client.method == "mtls");
    let alias = metadata["mtls_endpoint_aliases"]["introspection_endpoint"].as_str();
    alias.filter(|_| by_certificate).or(metadata["introspection_endpoint"].as_str())
}
