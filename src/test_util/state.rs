//! The state of an [`AuthorizationServer`](super::AuthorizationServer).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    fault::Endpoint,
    keys::Keys,
    providers::{facts::TokenFacts, members::IssuedKind, provider::Provider},
    signals::delivery::Delivery,
    transmitter::streams::Streams,
};
use crate::{
    clock::{Clock, SystemClock},
    jose::{algorithm::Algorithm, crypto::backend::sha256, signing::SigningKey},
};

/// The algorithms that a server of no provider has a key for from the start. It signs with the first.
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::ES256, Algorithm::RS256, Algorithm::PS256, Algorithm::ES384, Algorithm::EdDSA];

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
    /// The provider whose shapes the server has.
    pub(super) provider: Option<Provider>,
    pub(super) tokens: HashMap<String, Record>,
    /// Changes to members of the metadata. A member set to null is left out.
    pub(super) metadata_changes: Map<String, Value>,
    pub(super) oauth_metadata: bool,
    pub(super) openid_configuration: bool,
    pub(super) cache_control: Option<HeaderValue>,
    /// The streams of security events.
    pub(super) streams: Streams,
    /// The logout tokens to be sent.
    pub(super) logouts: Vec<Delivery>,
    /// The number of tokens and random texts made so far.
    minted: usize,
}

/// A token that the server issued.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) facts: TokenFacts,
    pub(super) revoked: bool,
    /// An introspection response that replaces the computed one.
    pub(super) fixed_response: Option<Value>,
}

impl State {
    pub(super) fn new(issuer: String) -> Self {
        Self {
            keys: Keys::new(&issuer, &ALGORITHMS),
            provider: None,
            issuer,
            clock: Arc::new(SystemClock),
            clients: Vec::new(),
            assertions: HashSet::new(),
            tokens: HashMap::new(),
            metadata_changes: Map::new(),
            oauth_metadata: true,
            openid_configuration: true,
            cache_control: None,
            streams: Streams::default(),
            logouts: Vec::new(),
            minted: 0,
        }
    }

    /// Returns the URL of an endpoint.
    pub(super) fn url(&self, endpoint: Endpoint) -> String {
        let base = self.issuer.trim_end_matches('/');
        if !endpoint.is_well_known() {
            return format!("{base}{}", endpoint.path());
        }
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

    /// Takes the shapes of a provider.
    pub(super) fn imitate(&mut self, provider: Provider) {
        self.provider = Some(provider);
        self.keys = Keys::new(&self.issuer, &[Algorithm::RS256]);
        self.oauth_metadata = provider.has_oauth_metadata();
        if !provider.names_introspection() {
            for name in ["", "_auth_methods_supported", "_auth_signing_alg_values_supported"] {
                self.metadata_changes.insert(format!("introspection_endpoint{name}"), Value::Null);
            }
        }
    }

    /// Returns the published keys (RFC 7517 §5).
    pub(super) fn jwks(&self) -> Value {
        let mut keys = self.keys.published();
        if let Some(provider) = self.provider {
            provider.shape_keys(&mut keys);
        }
        json!({ "keys": keys })
    }

    /// Returns the algorithm that signs tokens by default.
    pub(super) const fn algorithm(&self) -> Algorithm {
        if self.provider.is_some() { Algorithm::RS256 } else { ALGORITHMS[0] }
    }

    /// Returns the `typ` of a token.
    pub(super) fn typ(&self, facts: &TokenFacts) -> Option<&'static str> {
        match self.provider {
            _ if facts.signal.is_some() => facts.signal,
            Some(provider) => provider.typ(facts.kind),
            None if facts.kind == IssuedKind::Access => Some("at+jwt"),
            None => Some("JWT"),
        }
    }

    /// Returns the facts that every access token has by default.
    pub(super) fn default_facts(&mut self) -> TokenFacts {
        self.minted += 1;
        let now = self.clock.now();
        let facts = json!({
            "iss": self.issuer,
            "iat": now.as_secs(),
            "exp": now.saturating_add(LIFETIME).as_secs(),
            "jti": format!("token-{}", self.minted),
        });
        match facts {
            Value::Object(facts) => TokenFacts::new(facts),
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

    /// Issues an opaque token, whose text looks random if `text` is `None`.
    pub(super) fn mint_opaque(&mut self, facts: TokenFacts, text: Option<String>) -> String {
        let token = text.unwrap_or_else(|| {
            let random = self.unique_text();
            match self.provider {
                // The one provider whose refresh tokens are JWTs. Nobody else has the secret.
                Some(Provider::Keycloak) if facts.kind == IssuedKind::Refresh => {
                    let secret = SigningKey::from_secret(Algorithm::HS512, &[7; 64]);
                    let header = json!({ "typ": "JWT", "alg": "HS512", "kid": "test-refresh" });
                    let claims = facts.claims(self.provider).into();
                    let token = secret.and_then(|secret| secret.sign(&header, &claims));
                    token.expect("the secret is long enough")
                }
                Some(provider) => provider.opaque_text(facts.kind, &random),
                None => random,
            }
        });
        self.record_token(&token, facts);
        token
    }

    pub(super) fn mint_jwt(&mut self, facts: TokenFacts) -> String {
        let token = self.sign(&facts);
        self.record_token(&token, facts);
        token
    }

    /// Returns the facts as a JWT.
    pub(super) fn sign(&mut self, facts: &TokenFacts) -> String {
        let algorithm = self.algorithm();
        let key = self.keys.current(algorithm);
        let mut header = json!({ "alg": algorithm.as_str(), "kid": key.kid() });
        if let Some(typ) = self.typ(facts) {
            header["typ"] = typ.into();
        }
        let claims = facts.claims(self.provider).into();
        key.sign(&header, &claims).expect("a parsed key can sign")
    }

    pub(super) fn record_token(&mut self, token: &str, facts: TokenFacts) {
        let record = Record { facts, revoked: false, fixed_response: None };
        self.tokens.insert(token.to_owned(), record);
    }

    pub(super) fn in_seconds(&self, from_now: Duration) -> Value {
        self.clock.now().saturating_add(from_now).as_secs().into()
    }
}
