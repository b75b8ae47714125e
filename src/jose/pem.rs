//! Reads keys in PEM.

use jsonwebtoken::EncodingKey;
use pkcs8::{
    AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfoRef, SubjectPublicKeyInfoRef,
    der::{self, Encode as _, asn1::OctetStringRef, pem},
};

use super::{algorithm::KeyType, error::KeyError, public_key::PublicKey};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Reads a public key in PEM: `PUBLIC KEY` (RFC 7468 §13) or `RSA PUBLIC KEY`.
pub(crate) fn public_key(text: &[u8]) -> Result<PublicKey, KeyError> {
    let (label, der) = pem::decode_vec(text).map_err(|_| KeyError::Malformed)?;
    match label {
        "PUBLIC KEY" => subject_public_key(&der),
        "RSA PUBLIC KEY" => PublicKey::from_pkcs1_der(&der),
        _ => Err(KeyError::Unsupported),
    }
}

fn subject_public_key(der: &[u8]) -> Result<PublicKey, KeyError> {
    let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyError::Malformed)?;
    let bytes = info.subject_public_key.as_bytes().ok_or(KeyError::Malformed)?;
    let key = match key_type(&info.algorithm)? {
        KeyType::Rsa => PublicKey::from_pkcs1_der(bytes)?,
        KeyType::Ed25519 => PublicKey::ed25519(bytes)?,
        _ => PublicKey::from_point(bytes)?,
    };
    // The length of the point must match the named curve.
    if key.key_type() == key_type(&info.algorithm)? { Ok(key) } else { Err(KeyError::Malformed) }
}

/// Reads a private key in PEM.
///
/// Accepts `PRIVATE KEY` (RFC 7468 §10), `RSA PRIVATE KEY` (PKCS#1), and `EC PRIVATE KEY` (SEC 1),
/// which is taken to be on the curve of `wanted`. Does not check the numbers: the backend does.
pub(super) fn private_key(text: &[u8], wanted: KeyType) -> Result<EncodingKey, KeyError> {
    let (label, der) = pem::decode_vec(text).map_err(|_| KeyError::Malformed)?;
    match (label, wanted) {
        ("PRIVATE KEY", _) => {
            let info = PrivateKeyInfoRef::try_from(&*der).map_err(|_| KeyError::Malformed)?;
            match key_type(&info.algorithm)? {
                found if found != wanted => Err(KeyError::WrongAlgorithm),
                KeyType::Rsa => Ok(EncodingKey::from_rsa_der(info.private_key.as_bytes())),
                KeyType::Ed25519 => Ok(EncodingKey::from_ed_der(&der)),
                _ => Ok(EncodingKey::from_ec_der(&der)),
            }
        }
        ("RSA PRIVATE KEY", KeyType::Rsa) => Ok(EncodingKey::from_rsa_der(&der)),
        ("EC PRIVATE KEY", KeyType::P256) => sec1(&P256, &der),
        ("EC PRIVATE KEY", KeyType::P384) => sec1(&P384, &der),
        ("RSA PRIVATE KEY" | "EC PRIVATE KEY", _) => Err(KeyError::WrongAlgorithm),
        _ => Err(KeyError::Unsupported),
    }
}

/// Wraps a SEC 1 key into PKCS#8, the only form that `jsonwebtoken` takes.
fn sec1(curve: &ObjectIdentifier, der: &[u8]) -> Result<EncodingKey, KeyError> {
    let algorithm = AlgorithmIdentifierRef { oid: EC, parameters: Some(curve.into()) };
    let wrap = || PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(der)?).to_der();
    let key = wrap().map_err(|_: der::Error| KeyError::Malformed)?;
    Ok(EncodingKey::from_ec_der(&key))
}

fn key_type(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<KeyType, KeyError> {
    match algorithm.oid {
        RSA => Ok(KeyType::Rsa),
        ED25519 => Ok(KeyType::Ed25519),
        EC => match algorithm.parameters_oid() {
            Ok(P256) => Ok(KeyType::P256),
            Ok(P384) => Ok(KeyType::P384),
            _ => Err(KeyError::Unsupported),
        },
        _ => Err(KeyError::Unsupported),
    }
}
