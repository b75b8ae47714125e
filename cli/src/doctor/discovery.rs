//! Checks the metadata of an issuer.

use http::{StatusCode, Uri, header};
use serde_json::Value;
use tower_introspect::inspect::IssuerSettings;

use super::Doctor;
use crate::{finding::Findings, keys, net::Exchange};

impl Doctor<'_> {
    /// Checks the endpoints and the authentication methods in the metadata.
    pub(super) fn check_metadata(
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
                    let text = format!("the introspection endpoint is {url}");
                    findings.good("introspection_endpoint", text);
                    self.runbook.add_setting(&format!("introspection of {name}"), url);
                }
                None => findings
                    .bad("no_introspection_endpoint", "the metadata has no introspection endpoint"),
            }
            self.check_auth_methods(issuer, metadata, findings);
        }
        if let Some(url) = metadata["jwks_uri"].as_str().filter(|_| issuer.mode != "introspect") {
            self.runbook.add_setting(&format!("keys of {name}"), url);
        }
        let signing = metadata["introspection_signing_alg_values_supported"].is_array();
        if issuer.requires_signed_response && !signing {
            findings.warn(
                "no_signed_responses",
                "the metadata lists no algorithm for signed introspection responses",
            );
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
        match metadata["introspection_endpoint_auth_methods_supported"].as_array() {
            None => findings.note(
                "auth_methods_unknown",
                "the metadata lists no authentication methods for introspection (RFC 8414 §2)",
            ),
            Some(offered) => {
                let offered: Vec<_> = offered.iter().filter_map(Value::as_str).collect();
                if !wanted.iter().any(|method| offered.contains(method)) {
                    findings.warn(
                        "auth_method_not_offered",
                        format!(
                            "the configured method is `{}`, but the metadata lists {}",
                            client.method,
                            offered.join(", ")
                        ),
                    );
                }
            }
        }
    }
}

/// Returns the URLs that the library fetches metadata from (RFC 8414 §3.1, OpenID Connect Discovery
/// 1.0 §4).
pub(super) fn metadata_urls(issuer: &str) -> Vec<String> {
    let Ok(uri) = issuer.parse::<Uri>() else { return Vec::new() };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Vec::new();
    };
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
    let origin = format!("{scheme}://{authority}");
    // The library requests the last one only for issuers with a path.
    vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}{path}/.well-known/openid-configuration"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ]
}

/// Checks the response with a metadata document, and returns the document if it can be used.
pub(super) fn check_document(
    exchange: &Exchange,
    issuer: &str,
    findings: &mut Findings,
) -> Option<Value> {
    let url = exchange.request.uri();
    let response = match &exchange.outcome {
        Some(Ok(response)) => response,
        // The check of certificates reports these.
        Some(Err(error)) if error.is_tls() => return None,
        Some(Err(error)) => {
            findings.unknown("metadata_unreachable", format!("{url}: {}", error.describe()));
            return None;
        }
        None => {
            findings.unknown("metadata_unreachable", format!("{url}: no response in time"));
            return None;
        }
    };
    let millis = exchange.millis();
    let status = response.status();
    if status.is_redirection() {
        let to = keys::header_text(response, &header::LOCATION);
        findings.warn(
            "metadata_redirect",
            format!("{url} redirects to {to}: redirects are not followed"),
        );
        return None;
    }
    if status != StatusCode::OK {
        findings.note("metadata_status", format!("{url}: {status} after {millis} ms"));
        return None;
    }
    if let Some(problem) = keys::encoding_problem(response) {
        findings.bad("metadata_encoded", format!("{url}: {problem}"));
        return None;
    }
    let value: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
    if !value.is_object() {
        let kind = keys::header_text(response, &header::CONTENT_TYPE);
        findings.bad("metadata_no_json", format!("{url} is not a JSON object ({kind})"));
        return None;
    }
    match value["issuer"].as_str() {
        Some(named) if named == issuer => {
            findings.good(
                "metadata",
                format!("the metadata is at {url}, and names the issuer exactly ({millis} ms)"),
            );
            Some(value)
        }
        Some(named) => {
            let slash = named.trim_end_matches('/') == issuer.trim_end_matches('/');
            let hint = if slash { ": only the final slash differs" } else { "" };
            findings.bad("issuer_mismatch", format!(
                "{url} names the issuer `{named}`, configured is `{issuer}`{hint} (RFC 8414 §3.3)"
            ));
            None
        }
        None => {
            findings.bad("issuer_mismatch", format!("{url} names no issuer (RFC 8414 §3.3)"));
            None
        }
    }
}
