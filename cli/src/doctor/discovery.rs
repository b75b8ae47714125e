//! What an issuer says about itself.

use http::{StatusCode, Uri, header};
use serde_json::Value;
use tower_introspect::inspect::IssuerSettings;

use super::Doctor;
use crate::{finding::Findings, keys, net::Exchange};

impl Doctor<'_> {
    /// What the metadata says that matters here.
    pub(super) fn discovered(
        &mut self,
        issuer: &IssuerSettings,
        metadata: &Value,
        findings: &mut Findings,
    ) {
        let name = &issuer.issuer;
        if metadata.is_null() {
            return;
        }
        if issuer.mode != "jwt" && issuer.endpoint.is_none() {
            match metadata["introspection_endpoint"].as_str() {
                Some(url) => {
                    findings.good("introspection_endpoint", format!("introspection at {url}"));
                    self.runbook.deployed(&format!("introspection of {name}"), url);
                }
                None => findings.bad(
                    "no_introspection_endpoint",
                    "its metadata names no introspection endpoint",
                ),
            }
            self.methods(issuer, metadata, findings);
        }
        if let Some(url) = metadata["jwks_uri"].as_str().filter(|_| issuer.mode != "introspect") {
            self.runbook.deployed(&format!("keys of {name}"), url);
        }
        let signing = metadata["introspection_signing_alg_values_supported"].is_array();
        if issuer.signed && !signing {
            findings.warn(
                "no_signed_answers",
                "its metadata does not say that it signs introspection answers",
            );
        }
    }

    fn methods(&self, issuer: &IssuerSettings, metadata: &Value, findings: &mut Findings) {
        let Some(client) = &issuer.client else { return };
        let wanted: &[&str] = match client.method {
            "basic" | "basic_raw" => &["client_secret_basic"],
            "post" => &["client_secret_post"],
            "private_key_jwt" => &["private_key_jwt"],
            "client_secret_jwt" => &["client_secret_jwt"],
            "secret" => &["client_secret_basic", "client_secret_post", "client_secret_jwt"],
            _ => return,
        };
        match metadata["introspection_endpoint_auth_methods_supported"].as_array() {
            None => findings.note(
                "auth_methods_unknown",
                "its metadata does not say how to authenticate for introspection (RFC 8414 §2)",
            ),
            Some(offered) => {
                let offered: Vec<_> = offered.iter().filter_map(Value::as_str).collect();
                if !wanted.iter().any(|method| offered.contains(method)) {
                    findings.warn(
                        "auth_method_not_offered",
                        format!(
                            "`{}` is configured, but it offers {}",
                            client.method,
                            offered.join(", ")
                        ),
                    );
                }
            }
        }
    }
}

/// Where the metadata is (RFC 8414 §3.1, OpenID Connect Discovery 1.0 §4), as the library asks for it.
pub(super) fn documents(issuer: &str) -> [String; 2] {
    let Ok(uri) = issuer.parse::<Uri>() else { return Default::default() };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Default::default();
    };
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
    let origin = format!("{scheme}://{authority}");
    [
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}{path}/.well-known/openid-configuration"),
    ]
}

/// What came of asking for a document, and its members if it can be used.
pub(super) fn document(
    exchange: &Exchange,
    issuer: &str,
    findings: &mut Findings,
) -> Option<Value> {
    let url = exchange.request.uri();
    let response = match &exchange.outcome {
        Some(Ok(response)) => response,
        Some(Err(trouble)) if trouble.is_tls() => return None,
        Some(Err(trouble)) => {
            findings.unknown("metadata_unreachable", format!("{url}: {}", trouble.words()));
            return None;
        }
        None => {
            findings.unknown("metadata_unreachable", format!("{url}: no answer in time"));
            return None;
        }
    };
    let millis = exchange.millis();
    let status = response.status();
    if status.is_redirection() {
        let to = keys::text(response, &header::LOCATION);
        findings.warn(
            "metadata_redirect",
            format!("{url} sends elsewhere ({to}): redirects are not followed"),
        );
        return None;
    }
    if status != StatusCode::OK {
        findings.note("metadata_status", format!("{url} answers {status} in {millis} ms"));
        return None;
    }
    let value: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
    if !value.is_object() {
        let kind = keys::text(response, &header::CONTENT_TYPE);
        findings.bad("metadata_no_json", format!("{url} answers with no JSON object ({kind})"));
        return None;
    }
    match value["issuer"].as_str() {
        Some(named) if named == issuer => {
            findings.good(
                "metadata",
                format!("metadata at {url}, in {millis} ms; the issuer is the same to the letter"),
            );
            Some(value)
        }
        Some(named) => {
            let slash = named.trim_end_matches('/') == issuer.trim_end_matches('/');
            let hint = if slash { ": only the slash at the end differs" } else { "" };
            findings.bad("issuer_mismatch", format!(
                "{url} is of the issuer `{named}`, configured is `{issuer}`{hint} (RFC 8414 §3.3)"
            ));
            None
        }
        None => {
            findings.bad("issuer_mismatch", format!("{url} names no issuer (RFC 8414 §3.3)"));
            None
        }
    }
}
