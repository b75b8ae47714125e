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
    test_util::jws::{JwsParts, Signature},
};

/// A builder of DPoP proofs, created by [`Prover::proof`].
#[must_use = "nothing is minted until `mint`"]
pub struct ProofBuilder {
    jws: JwsParts,
    claims: Map<String, Value>,
    key: Option<SigningKey>,
}

impl Prover {
    /// Starts to build a proof for a request to `url`. By default it is valid.
    pub fn proof(&self, method: &str, url: &str) -> ProofBuilder {
        let jti = random::<16>().expect("the system gives random bytes");
        let header =
            json!({"typ": "dpop+jwt", "alg": self.key.algorithm().as_str(), "jwk": self.jwk});
        let claims = json!({
            "jti": URL_SAFE_NO_PAD.encode(jti),
            "htm": method,
            "htu": url,
            "iat": self.clock.now().as_secs(),
        });
        let (Value::Object(header), Value::Object(claims)) = (header, claims) else {
            unreachable!("they are objects")
        };
        let jws = JwsParts { header, ..JwsParts::default() };
        ProofBuilder { jws, claims, key: Some(self.key.clone()) }
    }
}

impl ProofBuilder {
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
        self.jws.header.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a member of the header.
    pub fn without_header(mut self, name: &str) -> Self {
        self.jws.header.remove(name);
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
        self.jws.signature = Signature::Corrupt;
        self
    }

    /// Sets the text of the header, which need not be JSON.
    pub fn raw_header(mut self, text: &str) -> Self {
        self.jws.raw_header = Some(text.to_owned());
        self
    }

    /// Sets the text of the payload, which need not be JSON.
    pub fn raw_claims(mut self, text: &str) -> Self {
        self.jws.raw_claims = Some(text.to_owned());
        self
    }

    /// Signs the proof and returns it.
    #[must_use]
    pub fn mint(self) -> String {
        self.jws.serialize(self.claims, self.key.as_ref())
    }
}

impl fmt::Debug for ProofBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofBuilder")
            .field("header", &self.jws.header)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}
