use base64::Engine as _;
use serde_json::{Value, json};

use super::{
    Algorithm, BASE64URL, KeyError, KeyType,
    key::{PublicKey, VerificationKey},
};
use crate::claims::json::{self, Object};

/// Members that only a private or a symmetric key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// A JWK that verifies signatures.
pub(crate) struct Jwk {
    pub(crate) key: VerificationKey,
    /// Private members were there too. They were not read.
    pub(crate) published_private: bool,
}

impl Jwk {
    /// Reads a public JWK (RFC 7517 §4).
    ///
    /// A symmetric key is refused: a secret that was published is none (and a public key taken
    /// for a secret is the oldest attack there is). Certificates (`x5c`, `x5t`) have no meaning
    /// here.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let jwk = Object::parse(text).map_err(|_| KeyError::Malformed)?;
        let kid = member(&jwk, "kid")?;
        if member(&jwk, "use")?.is_some_and(|purpose| purpose != "sig") || !may_verify(&jwk)? {
            return Err(KeyError::NotForSignatures);
        }
        let algorithm = member(&jwk, "alg")?
            .map(|name| name.parse::<Algorithm>().map_err(|_| KeyError::Unsupported))
            .transpose()?;
        let key = VerificationKey::new(kid.as_deref(), algorithm, &public_key(&jwk)?)?;
        let published_private = PRIVATE.iter().any(|name| jwk.get(name).is_some());
        Ok(Self { key, published_private })
    }
}

fn public_key(jwk: &Object<'_>) -> Result<PublicKey, KeyError> {
    let kty = member(jwk, "kty")?.ok_or(KeyError::Malformed)?;
    let crv = member(jwk, "crv")?;
    match (&*kty, crv.as_deref()) {
        ("RSA", _) => PublicKey::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?),
        ("EC", Some("P-256")) => PublicKey::ec(KeyType::P256, &bytes(jwk, "x")?, &bytes(jwk, "y")?),
        ("EC", Some("P-384")) => PublicKey::ec(KeyType::P384, &bytes(jwk, "x")?, &bytes(jwk, "y")?),
        ("OKP", Some("Ed25519")) => PublicKey::ed25519(&bytes(jwk, "x")?),
        _ => Err(KeyError::Unsupported),
    }
}

/// True unless `key_ops` leaves `verify` out (RFC 7517 §4.3).
fn may_verify(jwk: &Object<'_>) -> Result<bool, KeyError> {
    let Some(operations) = jwk.get("key_ops") else { return Ok(true) };
    let operations = json::strings(operations).ok_or(KeyError::Malformed)?;
    Ok(operations.iter().any(|operation| operation == "verify"))
}

fn member<'a>(
    jwk: &Object<'a>,
    name: &'static str,
) -> Result<Option<std::borrow::Cow<'a, str>>, KeyError> {
    jwk.string(name).map_err(|_| KeyError::Malformed)
}

fn bytes(jwk: &Object<'_>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let text = member(jwk, name)?.ok_or(KeyError::Malformed)?;
    BASE64URL.decode(&*text).map_err(|_| KeyError::Malformed)
}

/// The JWK of a public key.
pub(super) fn to_jwk(kid: Option<&str>, algorithm: Algorithm, key: &PublicKey) -> Value {
    let encode = |bytes: &[u8]| BASE64URL.encode(bytes);
    let mut jwk = match key {
        PublicKey::Rsa { modulus, exponent } => {
            json!({"kty": "RSA", "n": encode(modulus), "e": encode(exponent)})
        }
        PublicKey::P256 { point } | PublicKey::P384 { point } => {
            let crv = if point.len() == 65 { "P-256" } else { "P-384" };
            let (x, y) = point.split_at(1).1.split_at(point.len() / 2);
            json!({"kty": "EC", "crv": crv, "x": encode(x), "y": encode(y)})
        }
        PublicKey::Ed25519 { x } => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(x)}),
    };
    jwk["use"] = "sig".into();
    jwk["alg"] = algorithm.as_str().into();
    if let Some(kid) = kid {
        jwk["kid"] = kid.into();
    }
    jwk
}
