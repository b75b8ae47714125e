//! JSON Web Signatures, valid and invalid.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::jose::signing::SigningKey;

/// The parts of a JWS besides its claims and its key.
#[derive(Debug, Default)]
pub(super) struct JwsParts {
    pub(super) header: Map<String, Value>,
    pub(super) signature: Signature,
    /// A text that replaces the header.
    pub(super) raw_header: Option<String>,
    /// A text that replaces the claims.
    pub(super) raw_claims: Option<String>,
}

/// The state of a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Signature {
    /// One bit is flipped.
    Corrupt,
    Empty,
    #[default]
    Valid,
}

impl JwsParts {
    /// Returns the compact serialization (RFC 7515 §7.1). Its signature is empty if there is no key.
    pub(super) fn serialize(self, claims: Map<String, Value>, key: Option<&SigningKey>) -> String {
        let text = |raw: Option<String>, members| {
            URL_SAFE_NO_PAD.encode(raw.unwrap_or_else(|| Value::Object(members).to_string()))
        };
        let (header, payload) = (text(self.raw_header, self.header), text(self.raw_claims, claims));
        let input = format!("{header}.{payload}");
        let sign = |key: &SigningKey| key.sign_bytes(input.as_bytes());
        let signature = key.map(sign).transpose().expect("a parsed key can sign");
        let mut signature = signature.unwrap_or_default();
        match self.signature {
            Signature::Corrupt => drop(signature.last_mut().map(|byte| *byte ^= 1)),
            Signature::Empty => signature.clear(),
            Signature::Valid => {}
        }
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
