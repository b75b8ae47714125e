//! Issues JWTs, with and without defects.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{
    defect::Defect,
    jws::Signature,
    keys::derived,
    providers::members::IssuedKind,
    signals::names::{LOGOUT, LOGOUT_TYP, SECURITY_EVENT_TYP, SESSION_REVOKED},
    token::{Jwt, Signer, TokenBuilder},
};
use crate::jose::{algorithm::Algorithm, crypto::backend::sha256, signing::SigningKey};

const HOUR: Duration = Duration::from_secs(3600);

impl<K> TokenBuilder<Jwt<K>> {
    /// Issues the token and returns it.
    ///
    /// In introspection, the server knows the token only if it signed the token itself, without a
    /// corrupt signature or raw claims. Signals are not tokens to it.
    ///
    /// # Panics
    ///
    /// Panics if the [`algorithm`](Self::algorithm) needs a secret: sign with
    /// [`signed_with`](Self::signed_with) instead. Panics if the token has
    /// [`Defect::PublicKeyAsSecret`] and its key has no public half.
    #[must_use]
    pub fn mint(mut self) -> String {
        for defect in std::mem::take(&mut self.form.defects) {
            self = self.apply(defect);
        }
        let (key, claims) = (self.key(), self.claims());
        let typ = self.server.state().typ(&self.facts);
        let Jwt { mut jws, signer, .. } = self.form;
        let alg = key.as_ref().map_or("none", |key| key.algorithm().as_str());
        jws.header.entry("alg").or_insert_with(|| alg.into());
        jws.header.entry("typ").or_insert_with(|| typ.into());
        if let Some(kid) = key.as_ref().and_then(|key| key.kid()) {
            jws.header.entry("kid").or_insert_with(|| kid.into());
        }
        jws.header.retain(|_, value| !value.is_null());
        let vouched = matches!(signer, Signer::Server(_))
            && jws.signature == Signature::Valid
            && jws.raw_claims.is_none()
            && self.facts.signal.is_none();
        let token = jws.serialize(claims, key.as_deref());
        if vouched {
            self.server.state().record_token(&token, self.facts);
        }
        token
    }

    /// Returns the key that signs the token, if one does.
    fn key(&self) -> Option<Arc<SigningKey>> {
        match &self.form.signer {
            Signer::Foreign(key) => Some(Arc::clone(key)),
            Signer::Unsigned => None,
            Signer::Server(algorithm) => {
                let mut state = self.server.state();
                let algorithm = algorithm.unwrap_or(state.algorithm());
                Some(state.keys.current(algorithm))
            }
        }
    }

    fn claims(&self) -> Map<String, Value> {
        self.facts.claims(self.server.state().provider)
    }

    /// Changes the token so that it has this defect.
    fn apply(self, defect: Defect) -> Self {
        match defect {
            Defect::Expired => self.expired(),
            Defect::NotYetValid => {
                let start = self.now().saturating_add(HOUR);
                self.not_before(start).expires_at(start.saturating_add(HOUR))
            }
            Defect::NoExpiry => self.without("exp"),
            Defect::WrongAudience => self.claim("aud", "https://test-other.example"),
            Defect::NoAudience => self.without("aud"),
            Defect::WrongIssuer => self.claim("iss", "https://test-other.example"),
            Defect::NoIssuer => self.without("iss"),
            Defect::IdToken => self.of_kind(IssuedKind::Id),
            Defect::LogoutToken => self.typ(LOGOUT_TYP).claim("events", json!({LOGOUT: {}})),
            Defect::SecurityEvent => {
                self.typ(SECURITY_EVENT_TYP).claim("events", json!({SESSION_REVOKED: {}}))
            }
            Defect::WrongTyp => self.typ("dpop+jwt"),
            Defect::Bound => {
                let thumbprint = URL_SAFE_NO_PAD.encode(sha256(b"test"));
                self.claim("cnf", json!({ "jkt": thumbprint }))
            }
            Defect::AlgNone => self.unsigned(),
            Defect::PublicKeyAsSecret => {
                let public = self.key().and_then(|key| key.public_jwk());
                let secret = public.expect("the key has a public half").to_string();
                let secret = SigningKey::from_secret(Algorithm::HS256, secret.as_bytes());
                let kid = self.kid_of_key();
                self.signed_with(secret.expect("a JWK is long enough").with_kid(kid))
            }
            Defect::WrongAlg => {
                let alg = self.key().map(|key| key.algorithm());
                let other = if alg == Some(Algorithm::ES256) { "RS256" } else { "ES256" };
                self.header("alg", other)
            }
            Defect::CorruptSignature => self.with_corrupt_signature(),
            Defect::NoSignature => self.with_signature(Signature::Empty),
            Defect::ForeignKey => {
                let (key, kid) = (unrelated_to(self.key().as_deref()), self.kid_of_key());
                self.signed_with(key.with_kid(kid))
            }
            Defect::UnknownKey => self.kid("test-unknown"),
            Defect::EmbeddedKey => {
                let key = unrelated_to(None);
                let jwk = key.public_jwk().unwrap_or_default();
                self.header("jwk", jwk).signed_with(key).without_header("kid")
            }
            Defect::Critical => {
                let name = "urn:test:unknown";
                self.header("crit", json!([name])).header(name, true)
            }
            Defect::RepeatedClaim => {
                let mut claims = self.claims();
                claims.entry("sub").or_insert_with(|| "test".into());
                let claims = Value::Object(claims).to_string();
                let rest = claims.strip_prefix('{').unwrap_or_default();
                self.raw_claims(&format!("{{\"sub\":\"test-other\",{rest}"))
            }
            Defect::ExpiryAsText => {
                let exp = self.now().saturating_add(HOUR).as_secs().to_string();
                self.claim("exp", exp)
            }
            Defect::NoJson => self.raw_claims("test: no JSON"),
            Defect::TooLong => self.claim("padding", "test".repeat(32 * 1024)),
        }
    }

    fn kid_of_key(&self) -> String {
        let key = self.key();
        key.and_then(|key| key.kid().map(str::to_owned)).unwrap_or_default()
    }
}

/// Returns another key for the algorithm of `key`.
fn unrelated_to(key: Option<&SigningKey>) -> SigningKey {
    let algorithm = key.map_or(Algorithm::ES256, SigningKey::algorithm);
    if let Ok(secret) = SigningKey::from_secret(algorithm, &[1; 64]) {
        return secret;
    }
    let public = |key: &SigningKey| key.clone().with_kid("").public_jwk();
    let own = key.and_then(public);
    // There are only three RSA keys, and one of them may be `key`.
    let mut keys = (0..).map(|at| derived(algorithm, &format!("test: key {at} of nobody")));
    keys.find(|other| public(other) != own).expect("there are several keys")
}
