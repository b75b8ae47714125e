//! Functions for the program `introspect`. Not part of the public API.

use std::time::Duration;

use base64::Engine as _;
use http::HeaderMap;
use pkcs8::{
    PrivateKeyInfoRef,
    der::{
        AnyRef, Decode as _,
        asn1::{OctetStringRef, UintRef},
        pem::{self, LineEnding},
    },
};
use serde_json::{Value, json};

pub use crate::config::inspect::{ClientSettings, IssuerSettings, Settings};
#[cfg(feature = "signals")]
pub use crate::config::inspect::{SignalSettings, TransmitterSettings};
#[cfg(feature = "signals")]
use crate::signals::{event::types::EventType, transmitter::configuration::metadata_url};
use crate::{
    claims::{json::Object, kind::Evidence, typ::Typ},
    error::kind::TokenKind,
    jose::{
        algorithm::{Algorithm, KeyType},
        base64url::BASE64URL,
        crypto, jwk,
    },
    jwt::jwks::fresh_for,
    refresh::renewal::renewed_after,
    transport::discovery::discover::document_urls,
};

/// The version of the library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the SHA-256 thumbprint of a JWK (RFC 7638), in base64url. `None` if members are missing.
#[must_use]
pub fn thumbprint(jwk: &str) -> Option<String> {
    jwk::thumbprint(&Object::parse_shallow(jwk).ok()?).ok()
}

/// Returns 256 random bits as base64url text.
#[must_use]
pub fn random_text() -> Option<String> {
    crypto::random::random::<32>().map(|bytes| BASE64URL.encode(bytes))
}

/// Creates a private key for an asymmetric algorithm, as PKCS#8 in PEM.
#[must_use]
pub fn generate_key(algorithm: Algorithm) -> Option<String> {
    let der = crypto::backend::generate(algorithm)?;
    pem::encode_string("PRIVATE KEY", LineEnding::LF, &der).ok()
}

/// Returns the private JWK members of a private key in PKCS#8 PEM.
///
/// RFC 7518 §6.2.2 and §6.3.2, and RFC 8037 §2, define them. They turn the JWK of the public half
/// into a private one.
#[must_use]
pub fn private_members(algorithm: Algorithm, text: &[u8]) -> Option<Value> {
    let (_, der) = pem::decode_vec(text).ok()?;
    let key = PrivateKeyInfoRef::try_from(&*der).ok()?.private_key.as_bytes();
    let encode = |bytes: &[u8]| BASE64URL.encode(bytes);
    Some(match algorithm.key_type() {
        KeyType::Rsa => {
            // RFC 8017 §A.1.2: a version, and the public numbers first.
            let numbers = Vec::<UintRef<'_>>::from_der(key).ok()?;
            let numbers: Vec<_> = numbers.iter().map(|number| encode(number.as_bytes())).collect();
            let [_, _, _, d, p, q, dp, dq, qi] = &numbers[..] else { return None };
            json!({ "d": d, "p": p, "q": q, "dp": dp, "dq": dq, "qi": qi })
        }
        KeyType::P256 | KeyType::P384 => {
            // RFC 5915 §3: a version, the private number, and optional members.
            let members = Vec::<AnyRef<'_>>::from_der(key).ok()?;
            let number: &OctetStringRef = members.get(1)?.decode_as().ok()?;
            json!({ "d": encode(number.as_bytes()) })
        }
        KeyType::Ed25519 => {
            // RFC 8410 §7: the private key is an octet string inside of another.
            let seed = <&OctetStringRef>::from_der(key).ok()?;
            json!({ "d": encode(seed.as_bytes()) })
        }
        KeyType::Secret => return None,
    })
}

/// Returns the URLs that metadata of this issuer is fetched from, in this order.
#[must_use]
pub fn metadata_urls(issuer: &str) -> Vec<String> {
    let urls = document_urls(issuer, true).unwrap_or_default();
    urls.iter().map(|url| url.uri().to_string()).collect()
}

/// Returns the URL of the metadata of a transmitter of security events.
#[cfg(feature = "signals")]
#[must_use]
pub fn transmitter_metadata_url(issuer: &str) -> Option<String> {
    metadata_url(issuer, true).ok().map(|url| url.uri().to_string())
}

/// Returns true if events of this type have an effect on tokens.
#[cfg(feature = "signals")]
#[must_use]
pub fn has_effect(event: &str) -> bool {
    matches!(EventType::from_uri(event), EventType::Subject(_))
}

/// Returns the time after which the keys in a response with these headers are fetched again, once
/// they are in use.
#[must_use]
pub fn keys_fetched_again_after(headers: &HeaderMap) -> Duration {
    renewed_after(fresh_for(headers))
}

/// Judges the kind of a JWT as verifiers do: by the `typ` of its header, and by the names and JSON
/// values of its claims.
///
/// # Errors
///
/// The kind of the token, if it is not an access token or nothing shows that it is one.
pub fn judge_jwt<'a>(
    typ: Option<&str>,
    claims: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), TokenKind> {
    Evidence::of_jwt(Typ::of(typ), claims).judge()
}

/// Returns true if the `typ` of a header is that of an access token.
#[must_use]
pub fn is_access_token_type(typ: Option<&str>) -> bool {
    Typ::of(typ) == Typ::Access
}

/// Judges the kind of a token by the members of an introspection response, as verifiers do.
///
/// Returns true if the response says that it is an access token, and false if it says nothing.
///
/// # Errors
///
/// The kind of the token, if it is not an access token.
pub fn judge_response(text: &str) -> Result<bool, TokenKind> {
    let object = Object::parse(text.as_bytes()).ok();
    let Some(object) = object.map(|object| object.without_unset(&[])) else { return Ok(false) };
    let members = object.iter().map(|(name, value)| (&**name, value.get()));
    let Ok(evidence) = Evidence::of_response(members) else { return Ok(false) };
    match evidence.other_kind() {
        Some(kind) => Err(kind),
        None => Ok(evidence.is_of_access_token()),
    }
}
