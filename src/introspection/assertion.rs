//! Creates client assertions (RFC 7523 §2.2).

use std::time::Duration;

use base64::Engine as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::form::Form;
use crate::{
    clock::UnixTime,
    error::{boxed::BoxError, config::ConfigError, kind::ErrorKind, refusal::VerifyError},
    jose::{
        algorithm::Algorithm, base64url::BASE64URL, crypto, error::KeyError, signing::SigningKey,
    },
};

/// The lifetime of an assertion. It is used at once, so it only has to cover a slow network and
/// clocks that differ a little.
const LIFETIME: Duration = Duration::from_secs(60);

/// A client and the key that signs its assertions.
#[derive(Clone)]
pub(crate) struct Assertion {
    id: Box<str>,
    key: Result<SigningKey, KeyError>,
    /// `None` stands for the issuer.
    audience: Option<Box<str>>,
    shared: bool,
}

impl Assertion {
    /// Creates assertions for `private_key_jwt`.
    pub(super) fn private(id: String, key: SigningKey) -> Self {
        Self { id: id.into(), key: Ok(key), audience: None, shared: false }
    }

    /// Creates assertions for `client_secret_jwt`.
    pub(super) fn shared(id: String, secret: String) -> Self {
        let secret = SecretString::from(secret);
        let key = SigningKey::from_secret(Algorithm::HS256, secret.expose_secret().as_bytes());
        Self { id: id.into(), key, audience: None, shared: true }
    }

    pub(super) fn set_audience(&mut self, audience: String) {
        self.audience = Some(audience.into());
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Returns the name of the authentication method in server metadata.
    pub(super) const fn method(&self) -> &'static str {
        if self.shared { "client_secret_jwt" } else { "private_key_jwt" }
    }

    pub(super) fn check(&self, problems: &mut ConfigError) {
        match &self.key {
            Err(problem) => problems.push("client_auth", problem),
            // A shared key proves no more than the secret itself: that is `client_secret_jwt`.
            Ok(key) if !self.shared && key.public_jwk().is_none() => {
                problems.push("client_auth", "not a private key");
            }
            Ok(_) => {}
        }
        self.check_audience(problems);
    }

    pub(super) fn check_audience(&self, problems: &mut ConfigError) {
        if self.audience.as_deref() == Some("") {
            problems.push("client_auth", "the audience of the assertion is empty");
        }
    }

    /// Adds a new assertion to one request. Each request needs its own, because a server accepts an
    /// assertion only once.
    pub(super) fn apply(
        &self,
        form: &mut Form,
        issuer: &str,
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        form.push(
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        );
        form.push("client_assertion", &self.sign(issuer, now)?);
        Ok(())
    }

    fn sign(&self, issuer: &str, now: UnixTime) -> Result<String, VerifyError> {
        let key = self.key.as_ref().map_err(|problem| failed(*problem))?;
        let jti = crypto::random::random::<16>().ok_or_else(|| failed("no random numbers"))?;
        let mut header = json!({ "alg": key.algorithm().as_str(), "typ": "JWT" });
        if let (Some(kid), Some(header)) = (key.kid(), header.as_object_mut()) {
            header.insert("kid".to_owned(), kid.into());
        }
        // The audience is one string, by default the issuer identifier, which names this server
        // only (RFC 7523 §3). The FAPI 2.0 Security Profile accepts no other audience.
        let claims = json!({
            "iss": self.id,
            "sub": self.id,
            "aud": self.audience.as_deref().unwrap_or(issuer),
            "jti": BASE64URL.encode(jti),
            "iat": now.as_secs(),
            "exp": now.saturating_add(LIFETIME).as_secs(),
        });
        key.sign(&header, &claims).map_err(failed)
    }
}

fn failed(problem: impl Into<BoxError>) -> VerifyError {
    VerifyError::new(ErrorKind::Misconfigured)
        .with_context("creating a client assertion")
        .with_source(problem)
}
