//! Functions for the program `introspect`. Not part of the public API.

use base64::Engine as _;
use pkcs8::{
    PrivateKeyInfo,
    der::{
        Decode as _, Reader as _, SliceReader,
        asn1::OctetStringRef,
        pem::{self, LineEnding},
    },
};
use serde_json::{Value, json};

pub use crate::config::inspect::{ClientSettings, IssuerSettings, Settings};
use crate::{
    claims::json::Object,
    jose::{
        BASE64URL,
        algorithm::{Algorithm, KeyType},
        crypto, jwk,
    },
};

/// The version of the library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the SHA-256 digest of `data`.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    crypto::sha256(data)
}

/// Returns the SHA-256 thumbprint of a JWK (RFC 7638), in base64url. `None` if members are missing.
#[must_use]
pub fn thumbprint(jwk: &str) -> Option<String> {
    jwk::thumbprint(&Object::shallow(jwk).ok()?).ok()
}

/// Returns 256 random bits as base64url text.
#[must_use]
pub fn random_text() -> Option<String> {
    crypto::random::<32>().map(|bytes| BASE64URL.encode(bytes))
}

/// Creates a private key for an asymmetric algorithm, as PKCS#8 in PEM.
#[must_use]
pub fn generate_key(algorithm: Algorithm) -> Option<String> {
    let der = crypto::generate(algorithm)?;
    pem::encode_string("PRIVATE KEY", LineEnding::LF, &der).ok()
}

/// Returns the private JWK members of a private key in PKCS#8 PEM.
///
/// RFC 7518 §6.2.2 and §6.3.2, and RFC 8037 §2, define them. They turn the JWK of the public half
/// into a private one.
#[must_use]
pub fn private_members(algorithm: Algorithm, text: &[u8]) -> Option<Value> {
    let (_, der) = pem::decode_vec(text).ok()?;
    let key = PrivateKeyInfo::try_from(&*der).ok()?.private_key;
    let encode = |bytes: &[u8]| BASE64URL.encode(bytes);
    Some(match algorithm.key_type() {
        KeyType::Rsa => {
            let key = pkcs1::RsaPrivateKey::try_from(key).ok()?;
            json!({
                "d": encode(key.private_exponent.as_bytes()),
                "p": encode(key.prime1.as_bytes()),
                "q": encode(key.prime2.as_bytes()),
                "dp": encode(key.exponent1.as_bytes()),
                "dq": encode(key.exponent2.as_bytes()),
                "qi": encode(key.coefficient.as_bytes()),
            })
        }
        KeyType::P256 | KeyType::P384 => {
            // RFC 5915 §3: a version, the private number, and optional members.
            let number = SliceReader::new(key).ok()?.sequence(|reader| {
                let _: u8 = reader.decode()?;
                let number: OctetStringRef<'_> = reader.decode()?;
                reader.read_slice(reader.remaining_len())?;
                Ok(number.as_bytes().to_vec())
            });
            json!({ "d": encode(&number.ok()?) })
        }
        KeyType::Ed25519 => {
            // RFC 8410 §7: the private key is an octet string inside of another.
            let seed = OctetStringRef::from_der(key).ok()?;
            json!({ "d": encode(seed.as_bytes()) })
        }
        KeyType::Secret => return None,
    })
}
