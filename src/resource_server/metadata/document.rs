//! The metadata document: its content, and the bytes and validators it is served with.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value};

use super::{
    location::Location,
    settings::{OFFLINE_ACCESS, ProtectedResourceMetadata},
};
use crate::{
    credentials::extract::Extractor, error::config::ConfigError, policy::settings::Policy,
    transport::endpoint::Endpoint,
};

/// The document as it is served, built once.
#[derive(Debug)]
pub(crate) struct Document {
    pub(super) location: Location,
    pub(super) json: Bytes,
    pub(super) etag: HeaderValue,
    pub(super) cache_control: HeaderValue,
    pub(super) cors: bool,
}

/// The parts of the configuration that the document follows from.
pub(crate) struct DocumentSource<'a> {
    pub(crate) resource: &'a str,
    pub(crate) issuers: Vec<&'a str>,
    pub(crate) policy: &'a Policy,
    pub(crate) extractor: &'a Extractor,
    pub(crate) loopback_http: bool,
}

impl Document {
    /// Creates the document.
    ///
    /// # Errors
    ///
    /// Returns every problem of the settings.
    pub(crate) fn new(
        settings: ProtectedResourceMetadata,
        source: &DocumentSource<'_>,
    ) -> Result<Self, ConfigError> {
        let mut settings = settings;
        let location =
            Location::from_resource(source.resource, source.loopback_http).map_err(|not| {
                let problem = format!("metadata needs an https URL as the audience; this is {not}");
                settings.problems.push("resource", problem);
            });
        settings.add_derived(source);
        #[cfg(feature = "jwt")]
        settings.sign();
        let ProtectedResourceMetadata { members, max_age, cors, problems, .. } = settings;
        let Ok(location) = location else { return Err(problems) };
        let json = Value::Object(members).to_string();
        problems.or_ok(Self {
            location,
            etag: etag_of(&json),
            json: json.into(),
            cache_control: cache_control(max_age),
            cors,
        })
    }

    pub(crate) fn url(&self) -> &str {
        self.location.url()
    }
}

impl ProtectedResourceMetadata {
    /// Adds the members that follow from the configuration, so that the two can't disagree.
    fn add_derived(&mut self, source: &DocumentSource<'_>) {
        self.members.insert("resource".into(), source.resource.into());
        if !source.policy.is_for(source.resource) {
            self.problems.push("resource", "the policy admits no token for this resource");
        }
        if source.policy.challenges().advertises(OFFLINE_ACCESS) {
            let problem =
                "the policy advertises `offline_access`, which a resource must not request";
            self.problems.push("scopes_supported", problem);
        }

        let is_identifier = |issuer: &str| {
            // RFC 8414 §2: an issuer identifier has neither query nor fragment.
            !issuer.contains('?') && Endpoint::parse(issuer, source.loopback_http).is_ok()
        };
        // An issuer whose identifier is not a URL can be trusted, but clients can't look it up.
        let mut servers: Vec<String> = source
            .issuers
            .iter()
            .filter(|issuer| source.policy.trusts(issuer) && is_identifier(issuer))
            .map(|issuer| (*issuer).to_owned())
            .collect();
        for more in std::mem::take(&mut self.authorization_servers) {
            if !is_identifier(&more) {
                let problem = "contains an invalid issuer identifier (RFC 8414 §2)";
                self.problems.push("authorization_servers", problem);
            } else if !servers.contains(&more) {
                servers.push(more);
            }
        }
        self.set_list("authorization_servers", servers);

        if source.policy.proofs().takes_certificates() {
            self.members.insert("tls_client_certificate_bound_access_tokens".into(), true.into());
        }

        let keys = self.members.get("jwks_uri").and_then(Value::as_str);
        if let Some(Err(not)) = keys.map(|url| Endpoint::parse(url, source.loopback_http)) {
            self.problems.push("jwks_uri", not);
        }

        // An empty list says that no such method is supported (RFC 9728 §2).
        let mut methods = Vec::new();
        if self.members.get("dpop_bound_access_tokens_required") != Some(&true.into()) {
            if source.extractor.reads_authorization() {
                methods.push("header");
            }
            if source.extractor.reads_query() {
                methods.push("query");
            }
        }
        self.members.insert("bearer_methods_supported".into(), methods.into());
    }

    /// Adds a signed form of all members (RFC 9728 §2.2).
    #[cfg(feature = "jwt")]
    fn sign(&mut self) {
        let Some((key, issuer)) = &self.signer else { return };
        if issuer.is_empty() {
            self.problems.push("signed_metadata", "the issuer is empty");
        }
        if key.public_jwk().is_none() {
            // Anyone able to verify a symmetric signature could also forge one.
            self.problems.push("signed_metadata", "a shared secret can't sign public metadata");
            return;
        }
        let mut header = Map::new();
        header.insert("alg".into(), key.algorithm().as_str().into());
        if let Some(kid) = key.kid() {
            header.insert("kid".into(), kid.into());
        }
        let mut claims = self.members.clone();
        claims.insert("iss".into(), issuer.as_str().into());
        match key.sign(&Value::Object(header), &Value::Object(claims)) {
            Ok(signed) => drop(self.members.insert("signed_metadata".into(), signed.into())),
            Err(error) => self.problems.push("signed_metadata", error),
        }
    }
}

/// Returns a strong validator: equal only for equal bytes (RFC 9110 §8.8.3).
///
/// The hash need not resist collisions, because the document is written by this service alone.
fn etag_of(json: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    let etag = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::try_from(etag).expect("hexadecimal digits in quotes are a field value")
}

/// Returns the cache directives. The document is the same for everyone, so shared caches may keep
/// it (RFC 9728 §7.10).
fn cache_control(max_age: Duration) -> HeaderValue {
    let text = format!("public, max-age={}", max_age.as_secs());
    HeaderValue::try_from(text).expect("words and digits are a field value")
}
