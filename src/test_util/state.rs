//! The state of an [`AuthorizationServer`](super::AuthorizationServer).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::{Map, Value, json};

use super::{client::Client, fault::Endpoint, keys::Keys};
use crate::{
    clock::{Clock, SystemClock, UnixTime},
    jose::{algorithm::Algorithm, crypto::backend::sha256},
};

/// The default lifetime of a token.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct State {
    pub(super) issuer: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) clients: Vec<Client>,
    /// The client and the `jti` of every assertion that was accepted.
    pub(super) assertions: HashSet<(String, String)>,
    pub(super) keys: Keys,
    pub(super) tokens: HashMap<String, Record>,
    /// Changes to members of the metadata. A member set to null is left out.
    pub(super) metadata_changes: Map<String, Value>,
    pub(super) oauth_metadata: bool,
    pub(super) openid_configuration: bool,
    pub(super) cache_control: Option<HeaderValue>,
    /// The number of tokens and random texts made so far.
    minted: usize,
}

/// A token that the server issued.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) claims: Map<String, Value>,
    pub(super) access: bool,
    pub(super) revoked: bool,
    /// An introspection response that replaces the computed one.
    pub(super) fixed_response: Option<Value>,
}

impl Record {
    /// Returns the claims if this is an access token that is valid at `now`.
    pub(super) fn active_at(&self, now: UnixTime) -> Option<&Map<String, Value>> {
        let date = |name: &str| {
            let millis = self.claims.get(name)?.as_f64()? * 1000.0;
            // The cast saturates.
            #[expect(clippy::cast_possible_truncation, reason = "a float beyond is the far future")]
            Some(UnixTime::from_millis(millis as i64))
        };
        let expired = date("exp").is_some_and(|exp| now >= exp);
        let early = date("nbf").is_some_and(|nbf| now < nbf);
        (self.access && !self.revoked && !expired && !early).then_some(&self.claims)
    }
}

impl State {
    pub(super) fn new(issuer: String) -> Self {
        Self {
            keys: Keys::new(&issuer),
            issuer,
            clock: Arc::new(SystemClock),
            clients: Vec::new(),
            assertions: HashSet::new(),
            tokens: HashMap::new(),
            metadata_changes: Map::new(),
            oauth_metadata: true,
            openid_configuration: true,
            cache_control: None,
            minted: 0,
        }
    }

    /// Returns the URL of an endpoint.
    pub(super) fn url(&self, endpoint: Endpoint) -> String {
        let base = self.issuer.trim_end_matches('/');
        if endpoint != Endpoint::Discovery {
            return format!("{base}{}", endpoint.path());
        }
        // RFC 8414 §3.1: the path goes between the host and the path of the issuer.
        let path = self.issuer_path();
        let host = &base[..base.len() - path.len()];
        format!("{host}{}{path}", endpoint.path())
    }

    /// Returns the path of the issuer, without a slash at its end.
    pub(super) fn issuer_path(&self) -> &str {
        let base = self.issuer.trim_end_matches('/');
        let start = base.find("://").map_or(0, |at| at + 3);
        base[start..].find('/').map_or("", |at| &base[start + at..])
    }

    /// Returns the metadata of the server (RFC 8414 §2).
    pub(super) fn metadata(&self) -> Map<String, Value> {
        let at = |endpoint| self.url(endpoint);
        let auth = [
            "client_secret_basic",
            "client_secret_post",
            "client_secret_jwt",
            "private_key_jwt",
            "tls_client_auth",
        ];
        let signing = ["ES256", "RS256", "PS256", "EdDSA", "HS256"];
        let document = json!({
            "issuer": self.issuer,
            "jwks_uri": at(Endpoint::Jwks),
            "token_endpoint": at(Endpoint::Token),
            "introspection_endpoint": at(Endpoint::Introspection),
            "revocation_endpoint": at(Endpoint::Revocation),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            "token_endpoint_auth_methods_supported": auth,
            "token_endpoint_auth_signing_alg_values_supported": signing,
            "introspection_endpoint_auth_methods_supported": auth,
            "introspection_signing_alg_values_supported": ["RS256"],
            "introspection_endpoint_auth_signing_alg_values_supported": signing,
            "revocation_endpoint_auth_methods_supported": auth,
            "revocation_endpoint_auth_signing_alg_values_supported": signing,
        });
        let Value::Object(mut document) = document else { unreachable!("it is an object") };
        for (name, value) in &self.metadata_changes {
            match value {
                Value::Null => drop(document.remove(name)),
                value => drop(document.insert(name.clone(), value.clone())),
            }
        }
        document
    }

    /// Returns the claims that every access token has by default.
    pub(super) fn default_claims(&mut self) -> Map<String, Value> {
        self.minted += 1;
        let now = self.clock.now();
        let claims = json!({
            "iss": self.issuer,
            "iat": now.as_secs(),
            "exp": now.saturating_add(LIFETIME).as_secs(),
            "jti": format!("token-{}", self.minted),
        });
        match claims {
            Value::Object(claims) => claims,
            _ => unreachable!("it is an object"),
        }
    }

    /// Returns a new text that looks random, with 256 bits. It is derived from a counter and the
    /// issuer.
    pub(super) fn unique_text(&mut self) -> String {
        self.minted += 1;
        let name = format!("opaque {} {}", self.minted, self.issuer);
        URL_SAFE_NO_PAD.encode(sha256(name.as_bytes()))
    }

    pub(super) fn mint_opaque(&mut self, claims: Map<String, Value>) -> String {
        let token = self.unique_text();
        self.record_token(&token, claims, true);
        token
    }

    pub(super) fn mint_jwt(&mut self, claims: Map<String, Value>) -> String {
        let key = self.keys.current(Algorithm::ES256);
        let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": key.kid() });
        let token = key.sign(&header, &claims.clone().into()).expect("a parsed key can sign");
        self.record_token(&token, claims, true);
        token
    }

    pub(super) fn record_token(&mut self, token: &str, claims: Map<String, Value>, access: bool) {
        let record = Record { claims, access, revoked: false, fixed_response: None };
        self.tokens.insert(token.to_owned(), record);
    }

    pub(super) fn in_seconds(&self, from_now: Duration) -> Value {
        self.clock.now().saturating_add(from_now).as_secs().into()
    }
}
