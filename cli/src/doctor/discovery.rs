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
pub(super) const LIMIT: usize = 256 * 1024;

impl Doctor<'_> {
    /// Returns the metadata that the library fetched, after checking it.
    pub(super) fn check_metadata(&mut self, issuer: &IssuerSettings, seen: &[&Exchange]) -> Value {
        let mut problems: Vec<Finding> = Vec::new();
        for exchange in seen {
            match self.read_document(exchange, &issuer.issuer) {
                Ok(metadata) => {
                    // The library takes the first that it can use.
                    for problem in problems.iter().filter(|problem| problem.level > Level::Warning)
                    {
                        self.found.note(problem.code).text(&problem.text);
                    }
                    let (url, millis) = (exchange.request.uri(), exchange.millis());
                    let text = format!(
                        "the metadata is at {url}, and names the issuer exactly ({millis} ms)"
                    );
                    self.found.good("metadata").text(text);
                    self.check_endpoints(issuer, &metadata);
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
            self.found.0.push(Finding { text, level, ..last });
        }
        Value::Null
    }

    /// Reads metadata that the service does not read, because the configuration has what it needs,
    /// and compares the issuer.
    pub(super) fn compare_issuer(&mut self, issuer: &IssuerSettings) -> Value {
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
                    self.found.good("metadata").text(text);
                    return metadata;
                }
                Err(Some(problem)) if problem.code == "issuer_mismatch" => {
                    self.found.0.push(problem);
                    return Value::Null;
                }
                Err(problem) => problems.extend(problem.map(|problem| problem.text)),
            }
            if waited.is_err() {
                break;
            }
        }
        let why = if problems.is_empty() { "TLS failed".to_owned() } else { problems.join("; ") };
        self.found.unseen("issuer_not_compared").text(format!(
            "whether `{}` is the name of the issuer to the letter was not seen, for lack of \
             metadata ({why})",
            issuer.issuer
        ));
        Value::Null
    }

    /// Checks that the metadata has the URLs that the service needs.
    fn check_endpoints(&mut self, issuer: &IssuerSettings, metadata: &Value) {
        let name = &issuer.issuer;
        if issuer.mode != "jwt" && issuer.endpoint.is_none() {
            match endpoint(issuer, metadata) {
                Some(url) => {
                    self.runbook.add_setting(&format!("introspection of {name}"), url);
                    self.check_auth_methods(issuer, metadata);
                }
                None => {
                    self.found.bad("no_introspection_endpoint").text(format!(
                        "the metadata names no introspection endpoint, which it may leave out (RFC \
                         8414 §2), and the mode `{}` needs one",
                        issuer.mode
                    ));
                    let place = self.place();
                    let (endpoint, mode) =
                        (place.name(Setting::ENDPOINT), place.name(Setting::MODE));
                    let line = place.line(Setting::ENDPOINT, "https://..");
                    let or = place.line(Setting::MODE, "jwt");
                    self.found.change(format!(
                        "{endpoint}, as the documentation of the server has it: {line}"
                    ));
                    self.found.change(format!("{mode}, if all its tokens are JWTs: {or}"));
                }
            }
        }
        let finds_keys =
            issuer.mode != "introspect" && issuer.jwks_uri.is_none() && issuer.jwks_file.is_none();
        match metadata["jwks_uri"].as_str().filter(|_| finds_keys) {
            Some(url) => self.runbook.add_setting(&format!("keys of {name}"), url),
            None if finds_keys => {
                self.found.bad("no_jwks_uri").text(
                    "the metadata names no keys (`jwks_uri`), which it may leave out (RFC 8414 §2)",
                );
                self.found.change(self.place().with(Setting::KEYS, "set the URL of the keys"));
            }
            None => {}
        }
        let signing = metadata["introspection_signing_alg_values_supported"].is_array();
        if issuer.requires_signed_response && !signing {
            let text = "the metadata lists no algorithm for signed introspection responses";
            self.found.warn("no_signed_responses").text(text);
        }
    }

    fn check_auth_methods(&mut self, issuer: &IssuerSettings, metadata: &Value) {
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
            self.found.warn("auth_method_not_offered").text(format!(
                "the configured method is `{}`, but the metadata lists {}",
                client.method,
                offered.join(", ")
            ));
            self.found.change(format!("`method` of {}", self.place().name(Setting::CLIENT)));
        }
    }

    /// Returns the metadata document of a response, or the problem with it. The check of certificates
    /// reports problems with TLS.
    fn read_document(&self, exchange: &Exchange, issuer: &str) -> Result<Value, Option<Finding>> {
        let (url, setting) = (exchange.request.uri(), self.place().name(Setting::ISSUER));
        let (level, code, text, change) = match document(exchange) {
            Err(None) => return Err(None),
            Err(Some((Level::Unknown, code, text))) => {
                let change = format!("let this machine reach the server, or correct {setting}");
                (Level::Unknown, code, format!("{url}: {text}"), change)
            }
            Err(Some((level, code, text))) => {
                let change =
                    format!("{setting}: it may be spelled otherwise, or be another server");
                (level, code, format!("{url}: {text}"), change)
            }
            Ok((named, value)) if named == issuer => return Ok(value),
            Ok((named, _)) => {
                let slash = named.trim_end_matches('/') == issuer.trim_end_matches('/');
                let hint = if slash { ": only the final slash differs" } else { "" };
                let named: String = named.chars().take(200).collect();
                let text = format!(
                    "the server names itself `{named}` ({url}), but `issuer` is `{issuer}`{hint}. \
                     Its tokens and responses that name it are refused"
                );
                let line = self.place().line(Setting::ISSUER, &*named);
                let change = format!("{setting}, if that is the server: {line}");
                (Level::Bad, "issuer_mismatch", text, change)
            }
        };
        let mut findings = Findings::default();
        findings.add(level, code, text);
        findings.change(change);
        Err(findings.0.pop())
    }
}

/// The level, the code and the text of a finding.
pub(super) type Problem = (Level, &'static str, String);

/// Returns the issuer in a metadata document, and the document, or else the problem with it, but no
/// problem with TLS.
pub(super) fn document(exchange: &Exchange) -> Result<(String, Value), Option<Problem>> {
    let problem = |level, code, text| Err(Some((level, code, text)));
    let response = match &exchange.outcome {
        Some(Ok(response)) => response,
        Some(Err(error)) if error.is_tls() => return Err(None),
        Some(Err(error)) => {
            return problem(Level::Unknown, "metadata_unreachable", error.describe());
        }
        None => {
            return problem(Level::Unknown, "metadata_unreachable", "no response in time".into());
        }
    };
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => {
            let text = format!("{}, which is not followed", summary(response));
            return problem(Level::Bad, "metadata_redirect", text);
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return problem(Level::Unknown, "metadata_status", summary(response));
        }
        _ => return problem(Level::Warning, "metadata_status", summary(response)),
    }
    if let Some(text) = keys::encoding_problem(response) {
        return problem(Level::Bad, "metadata_encoded", text);
    }
    let value: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
    if !value.is_object() {
        let kind = header_text(response, &header::CONTENT_TYPE);
        return problem(Level::Bad, "metadata_no_json", format!("not a JSON object ({kind})"));
    }
    match value["issuer"].as_str() {
        Some(named) => Ok((named.to_owned(), value)),
        None => problem(Level::Bad, "issuer_mismatch", "it names no issuer (RFC 8414 §3.3)".into()),
    }
}

/// Returns the introspection endpoint in the metadata for the client of this issuer (RFC 8705 §5).
pub(super) fn endpoint<'a>(issuer: &IssuerSettings, metadata: &'a Value) -> Option<&'a str> {
    let by_certificate = issuer.client.as_ref().is_some_and(|client| client.method == "mtls");
    let alias = metadata["mtls_endpoint_aliases"]["introspection_endpoint"].as_str();
    alias.filter(|_| by_certificate).or(metadata["introspection_endpoint"].as_str())
}
