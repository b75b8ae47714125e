use serde_json::{Map, Value};

use super::{
    answers, claims,
    members::{Facts, IssuedKind},
    provider::Provider,
};
use crate::clock::UnixTime;

/// The facts of a token, under the names of RFC 9068, before a provider writes them in its way.
#[derive(Clone, Debug)]
pub(in crate::test_util) struct TokenFacts {
    pub(in crate::test_util) kind: IssuedKind,
    /// The `typ` of a signal, which is the same at all providers. `None` for tokens.
    pub(in crate::test_util) signal: Option<&'static str>,
    facts: Map<String, Value>,
    /// Claims as the test wants them, whatever the provider does.
    edits: Map<String, Value>,
    /// The claims that the test leaves out.
    left_out: Vec<String>,
}

impl TokenFacts {
    pub(in crate::test_util) fn new(facts: Map<String, Value>) -> Self {
        Self {
            kind: IssuedKind::Access,
            signal: None,
            facts,
            edits: Map::new(),
            left_out: Vec::new(),
        }
    }

    /// Sets a fact, which a provider may write in its way.
    pub(in crate::test_util) fn set(&mut self, name: &str, value: Value) {
        self.undo_edit(name);
        self.facts.insert(name.to_owned(), value);
    }

    /// Sets a claim to exactly this value.
    pub(in crate::test_util) fn edit(&mut self, name: &str, value: Value) {
        self.undo_edit(name);
        self.edits.insert(name.to_owned(), value);
    }

    /// Leaves a claim out.
    pub(in crate::test_util) fn leave_out(&mut self, name: &str) {
        self.undo_edit(name);
        self.left_out.push(name.to_owned());
    }

    fn undo_edit(&mut self, name: &str) {
        self.edits.remove(name);
        self.left_out.retain(|left_out| left_out != name);
    }

    /// Returns the claims of the token as a JWT of `provider`.
    pub(in crate::test_util) fn claims(&self, provider: Option<Provider>) -> Map<String, Value> {
        let facts = Facts(&self.facts);
        let claims = match (provider, self.kind) {
            _ if self.signal.is_some() => self.facts.clone(),
            (Some(provider), kind) => claims::of(provider, kind, &facts),
            (None, IssuedKind::Id) => {
                let mut claims = facts.all_but(&["client_id", "jti", "scope"]);
                claims.entry("aud").or_insert_with(|| facts.client());
                claims.entry("nonce").or_insert_with(|| "n-0S6_WzA2Mj".into());
                claims
            }
            (None, _) => self.facts.clone(),
        };
        self.edited(claims)
    }

    /// Returns the introspection response of `provider` for the token (RFC 7662 §2.2), or `None` if
    /// it is reported as inactive.
    pub(in crate::test_util) fn response(
        &self,
        provider: Option<Provider>,
    ) -> Option<Map<String, Value>> {
        let facts = Facts(&self.facts);
        // RFC 9449 §6.2.
        let bound = self.value("cnf").is_some_and(|bound| bound.get("jkt").is_some());
        let token_type = if bound { "DPoP" } else { "Bearer" };
        let response = match provider {
            Some(provider) => answers::of(provider, self.kind, &facts, token_type)?,
            None if self.kind == IssuedKind::Access => {
                let mut response = self.facts.clone();
                response.insert("token_type".into(), token_type.into());
                response
            }
            None => return None,
        };
        let mut response = self.edited(response);
        response.insert("active".into(), true.into());
        Some(response)
    }

    /// Returns true if the token is valid at `now`.
    pub(in crate::test_util) fn is_valid_at(&self, now: UnixTime) -> bool {
        let date = |name: &str| {
            let millis = self.value(name)?.as_f64()? * 1000.0;
            // The cast saturates.
            #[expect(clippy::cast_possible_truncation, reason = "a float beyond is the far future")]
            Some(UnixTime::from_millis(millis as i64))
        };
        let expired = date("exp").is_some_and(|exp| now >= exp);
        let early = date("nbf").is_some_and(|nbf| now < nbf);
        !expired && !early
    }

    /// Returns a fact, or the claim that stands in its place.
    pub(in crate::test_util) fn value(&self, name: &str) -> Option<&Value> {
        if self.left_out.iter().any(|left_out| left_out == name) {
            return None;
        }
        self.edits.get(name).or_else(|| self.facts.get(name))
    }

    fn edited(&self, mut claims: Map<String, Value>) -> Map<String, Value> {
        claims.extend(self.edits.clone());
        claims.retain(|name, _| !self.left_out.contains(name));
        claims
    }
}
