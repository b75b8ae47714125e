use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::prover::Prover;
use crate::{
    clock::UnixTime,
    jose::{
        crypto::{backend::sha256, random::random},
        signing::SigningKey,
    },
    test_util::token::{compact, corrupted},
};

/// A builder of DPoP proofs, created by [`Prover::proof`].
#[must_use = "nothing is minted until `mint`"]
pub struct ProofBuilder {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    key: Option<SigningKey>,
    corrupt: bool,
    raw_header: Option<String>,
    raw_claims: Option<String>,
}

impl ProofBuilder {
    pub(super) fn new(prover: &Prover, method: &str, url: &str) -> Self {
        let jti = random::<16>().expect("the system gives random bytes");
        let header =
            json!({"typ": "dpop+jwt", "alg": prover.key.algorithm().as_str(), "jwk": prover.jwk});
        let claims = json!({
            "jti": URL_SAFE_NO_PAD.encode(jti),
            "htm": method,
            "htu": url,
            "iat": prover.clock.now().as_secs(),
        });
        let (Value::Object(header), Value::Object(claims)) = (header, claims) else {
            unreachable!("they are objects")
        };
        Self {
            header,
            claims,
            key: Some(prover.key.clone()),
            corrupt: false,
            raw_header: None,
            raw_claims: None,
        }
    }

    /// Sets `ath` to the digest of this token (RFC 9449 §4.2).
    pub fn for_token(self, token: &str) -> Self {
        let digest = sha256(token.as_bytes());
        self.claim("ath", URL_SAFE_NO_PAD.encode(digest))
    }

    /// Sets `nonce`.
    pub fn nonce(self, nonce: &str) -> Self {
        self.claim("nonce", nonce)
    }

    /// Sets `iat`.
    pub fn issued_at(self, time: UnixTime) -> Self {
        self.claim("iat", time.as_secs())
    }

    /// Sets a claim to any value.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets a member of the header to any value.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a member of the header.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Signs with another key than the one in the header.
    pub fn signed_with(mut self, key: SigningKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Leaves the proof unsigned: `alg` is `none` and the signature empty.
    pub fn unsigned(mut self) -> Self {
        self.key = None;
        self.header("alg", "none")
    }

    /// Flips a bit of the signature.
    pub const fn with_corrupt_signature(mut self) -> Self {
        self.corrupt = true;
        self
    }

    /// Sets the text of the header, which need not be JSON.
    pub fn raw_header(mut self, text: &str) -> Self {
        self.raw_header = Some(text.to_owned());
        self
    }

    /// Sets the text of the payload, which need not be JSON.
    pub fn raw_claims(mut self, text: &str) -> Self {
        self.raw_claims = Some(text.to_owned());
        self
    }

    /// Signs the proof and returns it.
    #[must_use]
    pub fn mint(self) -> String {
        let header = self.raw_header.unwrap_or_else(|| Value::Object(self.header).to_string());
        let claims = self.raw_claims.unwrap_or_else(|| Value::Object(self.claims).to_string());
        let proof = compact(&header, &claims, self.key.as_ref());
        if self.corrupt { corrupted(&proof) } else { proof }
    }
}

impl fmt::Debug for ProofBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofBuilder")
            .field("header", &self.header)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}
