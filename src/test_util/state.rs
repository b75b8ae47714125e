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
    token::{LIFETIME, compact},
};
use crate::{
    clock::{Clock, SystemClock, UnixTime},
    jose::{algorithm::Algorithm, crypto::backend::sha256},
};

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
    /// A fixed introspection response that replaces the computed one.
    pub(super) answer: Option<Value>,
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

    /// Returns the claims that every access token has by default.
    pub(super) fn usual_claims(&mut self) -> Map<String, Value> {
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
    pub(super) fn fresh_text(&mut self) -> String {
        self.minted += 1;
        let name = format!("opaque {} {}", self.minted, self.issuer);
        URL_SAFE_NO_PAD.encode(sha256(name.as_bytes()))
    }

    pub(super) fn mint_opaque(&mut self, claims: Map<String, Value>) -> String {
        let token = self.fresh_text();
        self.remember(&token, claims, true);
        token
    }

    pub(super) fn mint_jwt(&mut self, claims: Map<String, Value>) -> String {
        let key = self.keys.current(Algorithm::ES256);
        let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": key.kid() });
        let payload = Value::Object(claims.clone()).to_string();
        let token = compact(&header.to_string(), &payload, Some(&key));
        self.remember(&token, claims, true);
        token
    }

    pub(super) fn remember(&mut self, token: &str, claims: Map<String, Value>, access: bool) {
        let record = Record { claims, access, revoked: false, answer: None };
        self.tokens.insert(token.to_owned(), record);
    }

    pub(super) fn in_seconds(&self, from_now: Duration) -> Value {
        self.clock.now().saturating_add(from_now).as_secs().into()
    }
}
