//! The settings of the metadata document.

use std::time::Duration;

use http::Uri;
use serde::Serialize;
use serde_json::{Map, Value};

use super::location::is_rfc3986;
#[cfg(feature = "jwt")]
use crate::jose::signing::SigningKey;
use crate::{claims::scope::is_scope_token, error::config::ConfigError};

/// How long clients may keep the document, unless configured.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The scope that requests a refresh token. No resource needs it.
pub(crate) const OFFLINE_ACCESS: &str = "offline_access";

/// The parameters that have their own setter or follow from the configuration.
const RESERVED: [&str; 16] = [
    "authorization_details_types_supported",
    "authorization_servers",
    "bearer_methods_supported",
    "dpop_bound_access_tokens_required",
    "dpop_signing_alg_values_supported",
    "iss",
    "jwks_uri",
    "resource",
    "resource_documentation",
    "resource_name",
    "resource_policy_uri",
    "resource_signing_alg_values_supported",
    "resource_tos_uri",
    "scopes_supported",
    "signed_metadata",
    "tls_client_certificate_bound_access_tokens",
];

/// The metadata of a protected resource that does not follow from the configuration (RFC 9728 §2).
///
/// These parameters follow from it: `resource` is the audience, `authorization_servers` are the
/// trusted issuers whose identifiers are URLs, and `bearer_methods_supported` is where tokens are
/// taken from. All others are optional. Empty and false values are left out (§3.2). The builder's
/// `build` reports invalid values.
///
/// ```
/// use tower_introspect::{Issuer, ResourceServer};
/// # use tower_introspect::{jose::Algorithm, jwt::KeySet};
/// # let keys = KeySet::from_secret(Algorithm::HS256, &[7; 32])?;
///
/// let issuer = Issuer::jwt("https://as.example.com");
/// # let issuer = issuer.configure_jwt(|jwt| jwt.keys(keys));
/// let api = ResourceServer::builder("https://api.example.com/v1")
///     .issuer(issuer)
///     .metadata(|about| about.scopes_supported(["read", "write"]).resource_name("Payments"))
///     .build()?;
/// assert_eq!(
///     api.metadata_document(),
///     Some(
///         "{\"authorization_servers\":[\"https://as.example.com\"],\
///          \"bearer_methods_supported\":[\"header\"],\
///          \"resource\":\"https://api.example.com/v1\",\
///          \"resource_name\":\"Payments\",\
///          \"scopes_supported\":[\"read\",\"write\"]}"
///     )
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "metadata is served only once it is given to a builder"]
pub struct ProtectedResourceMetadata {
    pub(super) members: Map<String, Value>,
    pub(super) authorization_servers: Vec<String>,
    pub(super) max_age: Duration,
    pub(super) cors: bool,
    #[cfg(feature = "jwt")]
    pub(super) signer: Option<(SigningKey, String)>,
    pub(super) problems: ConfigError,
}

impl ProtectedResourceMetadata {
    pub(crate) fn new() -> Self {
        Self {
            members: Map::new(),
            authorization_servers: Vec::new(),
            max_age: MAX_AGE,
            cors: true,
            #[cfg(feature = "jwt")]
            signer: None,
            problems: ConfigError::new(),
        }
    }

    /// Sets the scopes that requests to this service may need.
    ///
    /// `offline_access` is refused. It concerns only the client and the authorization server, and a
    /// client that requests all listed scopes would request refresh tokens.
    pub fn scopes_supported<S: Into<String>>(
        mut self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        let scopes: Vec<String> = scopes.into_iter().map(Into::into).collect();
        if !scopes.iter().all(|scope| is_scope_token(scope)) {
            self.problems.push("scopes_supported", "contains an invalid scope (RFC 6749 §3.3)");
        }
        if scopes.iter().any(|scope| scope == OFFLINE_ACCESS) {
            let problem = "a resource must not request `offline_access`";
            self.problems.push("scopes_supported", problem);
        }
        self.set_list("scopes_supported", scopes);
        self
    }

    /// Sets further authorization servers to list: those whose issuers an
    /// [`IssuerResolver`](super::super::IssuerResolver) finds, as they are not known beforehand.
    pub fn authorization_servers<S: Into<String>>(
        mut self,
        issuers: impl IntoIterator<Item = S>,
    ) -> Self {
        self.authorization_servers = issuers.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the name of this service to show to users.
    pub fn resource_name(mut self, name: impl Into<String>) -> Self {
        self.set_text("resource_name".to_owned(), name.into());
        self
    }

    /// Sets the name in one language, given by its tag (§2.1, BCP 47).
    pub fn resource_name_in(mut self, language: &str, name: impl Into<String>) -> Self {
        let member = self.language_member("resource_name", language);
        self.set_text(member, name.into());
        self
    }

    /// Sets the URL of a page for developers.
    pub fn resource_documentation(mut self, url: impl Into<String>) -> Self {
        self.set_page("resource_documentation".to_owned(), url.into());
        self
    }

    /// Sets the URL of the page for developers in one language, given by its tag.
    pub fn resource_documentation_in(mut self, language: &str, url: impl Into<String>) -> Self {
        let member = self.language_member("resource_documentation", language);
        self.set_page(member, url.into());
        self
    }

    /// Sets the URL of a page about the ways in which clients may use the data.
    pub fn resource_policy_uri(mut self, url: impl Into<String>) -> Self {
        self.set_page("resource_policy_uri".to_owned(), url.into());
        self
    }

    /// Sets the URL of the page about the use of the data in one language, given by its tag.
    pub fn resource_policy_uri_in(mut self, language: &str, url: impl Into<String>) -> Self {
        let member = self.language_member("resource_policy_uri", language);
        self.set_page(member, url.into());
        self
    }

    /// Sets the URL of the terms of service.
    pub fn resource_tos_uri(mut self, url: impl Into<String>) -> Self {
        self.set_page("resource_tos_uri".to_owned(), url.into());
        self
    }

    /// Sets the URL of the terms of service in one language, given by their tag.
    pub fn resource_tos_uri_in(mut self, language: &str, url: impl Into<String>) -> Self {
        let member = self.language_member("resource_tos_uri", language);
        self.set_page(member, url.into());
        self
    }

    /// Sets the https URL of the keys with which this service signs its responses.
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.set_text("jwks_uri".to_owned(), url.into());
        self
    }

    /// Sets the algorithms with which this service signs its responses. `none` is refused.
    pub fn resource_signing_alg_values_supported<S: Into<String>>(
        mut self,
        algorithms: impl IntoIterator<Item = S>,
    ) -> Self {
        self.set_algorithms("resource_signing_alg_values_supported", algorithms, &["none"]);
        self
    }

    /// Sets the types of `authorization_details` that requests may need (RFC 9396).
    pub fn authorization_details_types_supported<S: Into<String>>(
        mut self,
        types: impl IntoIterator<Item = S>,
    ) -> Self {
        let types = types.into_iter().map(Into::into).collect();
        self.set_list("authorization_details_types_supported", types);
        self
    }

    /// Sets whether the document states that tokens are bound to client certificates (RFC 8705 §3).
    ///
    /// If [`Policy::mtls`](crate::Policy::mtls) is set, the document states this in any case.
    pub fn tls_client_certificate_bound_access_tokens(mut self, bound: bool) -> Self {
        self.set_flag("tls_client_certificate_bound_access_tokens", bound);
        self
    }

    /// Sets the algorithms of DPoP proofs that are accepted (RFC 9449). Only asymmetric ones.
    pub fn dpop_signing_alg_values_supported<S: Into<String>>(
        mut self,
        algorithms: impl IntoIterator<Item = S>,
    ) -> Self {
        self.set_algorithms("dpop_signing_alg_values_supported", algorithms, &["none", "HS"]);
        self
    }

    /// Sets whether the document states that only tokens bound by DPoP are accepted.
    ///
    /// If so, it lists no way to present a bearer token.
    pub fn dpop_bound_access_tokens_required(mut self, required: bool) -> Self {
        self.set_flag("dpop_bound_access_tokens_required", required);
        self
    }

    /// Sets a parameter of another specification (§2, "additional protected resource metadata
    /// parameters").
    ///
    /// A null or an empty array removes it.
    pub fn parameter(mut self, name: impl Into<String>, value: &impl Serialize) -> Self {
        let name = name.into();
        // A name with a language tag counts as the name alone.
        let untagged = name.split('#').next().unwrap_or_default();
        if untagged.is_empty() || RESERVED.contains(&untagged) {
            self.problems.push(
                "parameter",
                format!("`{name}` has its own setter or follows from the configuration"),
            );
            return self;
        }
        match serde_json::to_value(value) {
            Ok(Value::Null) => drop(self.members.remove(&name)),
            Ok(Value::Array(values)) if values.is_empty() => drop(self.members.remove(&name)),
            Ok(value) => drop(self.members.insert(name, value)),
            Err(error) => self.problems.push(name, error),
        }
        self
    }

    /// Adds a signed form of the document: a JWT that `issuer` attests with `key` (§2.2).
    ///
    /// It is signed once, when the resource server is built, and does not expire.
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn signed_with(mut self, key: SigningKey, issuer: impl Into<String>) -> Self {
        self.signer = Some((key, issuer.into()));
        self
    }

    /// Sets how long clients and caches may keep the document (§7.10). One hour by default.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Prevents scripts of other origins from reading the document.
    ///
    /// By default they may read it, as clients in browsers need to. The document holds nothing that
    /// they could not get from outside of the browser, unless this service can be reached only from
    /// where the browser is.
    pub fn without_cors(mut self) -> Self {
        self.cors = false;
        self
    }

    /// Sets an array of distinct texts. An empty array removes the member (§3.2).
    pub(super) fn set_list(&mut self, name: &str, values: Vec<String>) {
        let mut list: Vec<Value> = Vec::with_capacity(values.len());
        for value in values {
            if value.is_empty() {
                self.problems.push(name, "contains an empty text");
            }
            let value = Value::from(value);
            if !list.contains(&value) {
                list.push(value);
            }
        }
        if list.is_empty() {
            self.members.remove(name);
        } else {
            self.members.insert(name.to_owned(), list.into());
        }
    }

    fn set_algorithms<S: Into<String>>(
        &mut self,
        name: &str,
        algorithms: impl IntoIterator<Item = S>,
        refused: &[&str],
    ) {
        let algorithms: Vec<String> = algorithms.into_iter().map(Into::into).collect();
        for algorithm in &algorithms {
            let starts = |start: &&str| {
                algorithm.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start))
            };
            if refused.iter().any(starts) {
                self.problems.push(name, format!("`{algorithm}` is not allowed here"));
            }
        }
        self.set_list(name, algorithms);
    }

    fn set_text(&mut self, member: String, value: String) {
        if value.is_empty() {
            self.members.remove(&member);
        } else {
            self.members.insert(member, value.into());
        }
    }

    fn set_page(&mut self, member: String, url: String) {
        let is_page = url.parse::<Uri>().is_ok_and(|uri| {
            let web = matches!(uri.scheme_str(), Some("https" | "http"));
            web && uri.authority().is_some() && is_rfc3986(&url)
        });
        if !is_page && !url.is_empty() {
            self.problems.push(&*member, "not the URL of a page");
        }
        self.set_text(member, url);
    }

    fn set_flag(&mut self, name: &str, set: bool) {
        if set {
            self.members.insert(name.to_owned(), true.into());
        } else {
            self.members.remove(name);
        }
    }

    /// Returns the member name `name#language` (§2.1).
    fn language_member(&mut self, name: &str, language: &str) -> String {
        let subtag = |subtag: &str| {
            (1..=8).contains(&subtag.len())
                && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let member = format!("{name}#{language}");
        if !language.split('-').all(subtag) {
            self.problems.push(&*member, "not a language tag (BCP 47)");
        }
        member
    }
}
