//! JSON Web Keys (RFC 7517) and their thumbprints (RFC 7638).

use base64::Engine as _;
use serde_json::{Value, json, value::RawValue};

use super::{
    algorithm::{Algorithm, KeyType},
    base64url::BASE64URL,
    error::KeyError,
    key::VerificationKey,
    public_key::PublicKey,
};
use crate::claims::{
    json::{self, Object},
    unset::is_unset_list,
};

/// Members that only a private or a symmetric key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// The members of a JWK that are arrays of at least one element (RFC 7517 §4.3, §4.7; RFC 7518
/// §6.3.2.7).
const LISTS: [&str; 3] = ["key_ops", "oth", "x5c"];

/// A JWK that an issuer publishes, and what can be read of it.
pub(crate) struct Jwk {
    pub(crate) kid: Option<Box<str>>,
    /// The only issuer that the key serves, if the JWK names one.
    pub(crate) issuer: Option<Box<str>>,
    /// The key that verifies signatures, or the reason why there is none.
    pub(crate) key: Result<VerificationKey, KeyError>,
    /// True if the JWK also has private members. They are not read.
    pub(crate) has_private_members: bool,
}

impl Jwk {
    /// Reads a JWK (RFC 7517 §4). Members that are not set are absent.
    ///
    /// Refuses symmetric keys: a published secret is not secret, and the use of a public key as a
    /// secret is a well-known attack. Ignores certificates (`x5c`, `x5t`).
    pub(crate) fn read(text: &[u8]) -> Self {
        let Ok(jwk) = Object::parse(text) else {
            let key = Err(KeyError::Malformed);
            return Self { kid: None, issuer: None, key, has_private_members: false };
        };
        let jwk = jwk.without_unset(&LISTS);
        let text = |name| jwk.string(name).ok().flatten().map(Into::into);
        let has_value = |name: &&str| jwk.get(name).is_some_and(|value| !is_blank(value));
        Self {
            kid: text("kid"),
            issuer: text("issuer"),
            key: verification_key(&jwk),
            has_private_members: PRIVATE.iter().any(has_value),
        }
    }
}

fn verification_key(jwk: &Object<'_>) -> Result<VerificationKey, KeyError> {
    let kid = member(jwk, "kid")?;
    if member(jwk, "use")?.is_some_and(|purpose| purpose != "sig") || !may_verify(jwk)? {
        return Err(KeyError::NotForSignatures);
    }
    let algorithm = member(jwk, "alg")?
        .map(|name| name.parse::<Algorithm>().map_err(|_| KeyError::Unsupported))
        .transpose()?;
    let key = VerificationKey::new(kid.as_deref(), algorithm, &public_key(jwk)?)?;
    Ok(key.for_issuer(member(jwk, "issuer")?.as_deref()))
}

/// Returns true for a value without content, which reveals nothing of a private key.
fn is_blank(value: &RawValue) -> bool {
    value.get() == "\"\"" || is_unset_list(value)
}

/// The public key in the header of a DPoP proof (RFC 9449 §4.2). It is not trusted: the sender of
/// the proof chose it.
#[cfg(feature = "dpop")]
pub(crate) struct ProofKey {
    public: PublicKey,
    thumbprint: String,
}

#[cfg(feature = "dpop")]
impl ProofKey {
    /// Reads the key. Ignores `use`, `key_ops`, `alg` and `kid`.
    ///
    /// Refuses any JWK with private or symmetric members (RFC 9449 §4.3, check 7).
    pub(crate) fn parse(text: &str) -> Result<Self, KeyError> {
        // Strict at the top level only: nested members have no meaning here.
        let jwk = Object::parse_shallow(text).map_err(|_| KeyError::Malformed)?;
        if PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
            return Err(KeyError::NotForSignatures);
        }
        Ok(Self { public: public_key(&jwk)?, thumbprint: thumbprint(&jwk)? })
    }

    /// Returns the SHA-256 thumbprint in base64url, as in `jkt` (RFC 9449 §6.1).
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Returns true if the key fits `algorithm` and `signature` is its signature of `message`.
    ///
    /// This is also the first check that the numbers form a valid key.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        super::crypto::backend::keys::verify_once(algorithm, &self.public, message, signature)
    }
}

/// Returns the thumbprint of a public key.
///
/// It covers the required members only, in lexicographic order, without white space (RFC 7638
/// §3.2). No character of a member that [`public_key`] accepts needs a JSON escape.
#[cfg(any(feature = "dpop", feature = "checks"))]
pub(crate) fn thumbprint(jwk: &Object<'_>) -> Result<String, KeyError> {
    let members: &[&'static str] = match member(jwk, "kty")?.as_deref() {
        Some("RSA") => &["e", "kty", "n"],
        Some("EC") => &["crv", "kty", "x", "y"],
        _ => &["crv", "kty", "x"],
    };
    let mut text = String::with_capacity(512);
    for name in members {
        let value = member(jwk, name)?.ok_or(KeyError::Malformed)?;
        let before = if text.is_empty() { '{' } else { ',' };
        text.extend([before, '"']);
        text.extend([name, "\":\"", &*value, "\""]);
    }
    text.push('}');
    Ok(BASE64URL.encode(super::crypto::backend::sha256(text.as_bytes())))
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

/// Returns true unless `key_ops` is present and lacks `verify` (RFC 7517 §4.3).
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

/// Returns the JWK of a public key.
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

#[cfg(all(test, feature = "dpop"))]
mod tests {
    use super::*;

    fn thumbprint_of(jwk: &str) -> Result<String, KeyError> {
        ProofKey::parse(jwk).map(|key| key.thumbprint)
    }

    /// The key of RFC 7638 §3.1.
    const RSA: &str = r#"{
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29"
    }"#;

    #[test]
    fn rfc7638_3_1_the_thumbprint_of_the_example() {
        let example = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        assert_eq!(thumbprint_of(RSA).as_deref(), Ok(example));
    }

    #[test]
    fn rfc9449_6_1_the_thumbprint_of_the_example() {
        // The key of RFC 9449 §4.1, to which the token of §6.1 is bound.
        let key = r#"{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}"#;
        let bound = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        assert_eq!(thumbprint_of(key).as_deref(), Ok(bound));
    }

    #[test]
    fn rfc7638_3_2_other_members_do_not_matter() {
        let bare =
            r#"{"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","crv":"Ed25519","kty":"OKP"}"#;
        let more = r#"{"use":"enc","kty":"OKP","key_ops":["sign"],"crv":"Ed25519","kid":"a","alg":"ES256","ext":true,"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        // RFC 8037 appendix A.3.
        let example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(thumbprint_of(bare).as_deref(), Ok(example));
        assert_eq!(thumbprint_of(more).as_deref(), Ok(example));
    }

    #[test]
    fn rfc9449_4_3_private_and_symmetric_keys_are_refused() {
        for name in PRIVATE {
            for value in ["\"AA\"", "null", "[]", "7"] {
                let jwk = RSA.replacen('{', &format!("{{\"{name}\":{value},"), 1);
                assert_eq!(thumbprint_of(&jwk), Err(KeyError::NotForSignatures), "{name} {value}");
            }
        }
        let secret = r#"{"kty":"oct","k":"AAAA"}"#;
        assert_eq!(thumbprint_of(secret), Err(KeyError::NotForSignatures));
        assert_eq!(thumbprint_of(r#"{"kty":"oct"}"#), Err(KeyError::Unsupported));
    }
}
