//! The keys of an [`AuthorizationServer`](super::AuthorizationServer).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::jose::{algorithm::Algorithm, crypto::backend::sha256, signing::SigningKey};

/// Fixed RSA keys, because generating one takes seconds in a debug build.
///
/// They are public. Only tests may trust them.
const RSA: [&[u8]; 3] = [
    include_bytes!("keys/test-only-rsa-1.pem"),
    include_bytes!("keys/test-only-rsa-2.pem"),
    include_bytes!("keys/test-only-rsa-3.pem"),
];

/// The keys that a server signs with, and the keys it publishes.
#[derive(Debug)]
pub(super) struct Keys {
    issuer: String,
    /// At most one key for each algorithm.
    current: Vec<Arc<SigningKey>>,
    published: Vec<Value>,
    /// The number of keys made so far.
    made: usize,
}

impl Keys {
    pub(super) fn new(issuer: &str, algorithms: &[Algorithm]) -> Self {
        let mut keys =
            Self { issuer: issuer.into(), current: Vec::new(), published: Vec::new(), made: 0 };
        for algorithm in algorithms {
            keys.add(*algorithm);
        }
        keys
    }

    /// Returns the key to sign with. It is created if there is none for this algorithm yet.
    pub(super) fn current(&mut self, algorithm: Algorithm) -> Arc<SigningKey> {
        match self.current.iter().find(|key| key.algorithm() == algorithm) {
            Some(key) => Arc::clone(key),
            None => self.add(algorithm),
        }
    }

    /// Signs with new keys from now on. The old keys stay published.
    pub(super) fn rotate(&mut self) {
        for key in std::mem::take(&mut self.current) {
            self.add(key.algorithm());
        }
    }

    pub(super) fn remove(&mut self, kid: &str) {
        self.published.retain(|key| key["kid"] != kid);
    }

    /// Unpublishes all keys but those that the server signs with now.
    pub(super) fn remove_old(&mut self) {
        let current = |key: &Value| self.current.iter().any(|have| key["kid"] == *kid(have));
        self.published.retain(current);
    }

    pub(super) fn publish(&mut self, key: Value) {
        self.published.push(key);
    }

    pub(super) fn published(&self) -> Vec<Value> {
        self.published.clone()
    }

    fn add(&mut self, algorithm: Algorithm) -> Arc<SigningKey> {
        self.made += 1;
        // Marks the key as a test key wherever it turns up.
        let kid = format!("test-{}-{}", algorithm.as_str().to_lowercase(), self.made);
        let key = make(algorithm, &self.issuer, self.made).with_kid(kid);
        self.published.push(key.public_jwk().expect("an asymmetric key has a public half"));
        let key = Arc::new(key);
        self.current.push(Arc::clone(&key));
        key
    }
}

/// Returns a key that is always the same for a name.
pub(super) fn derived(algorithm: Algorithm, name: &str) -> SigningKey {
    make(algorithm, name, 0)
}

pub(super) fn kid(key: &SigningKey) -> &str {
    key.kid().unwrap_or_default()
}

/// Creates the `serial`th key of an issuer. It is always the same key, and other issuers get other
/// keys unless the algorithm is RSA.
fn make(algorithm: Algorithm, issuer: &str, serial: usize) -> SigningKey {
    let seed = |salt: u8| {
        let mut seed = sha256(format!("{salt} {serial} {issuer}").as_bytes()).to_vec();
        seed.extend_from_slice(&sha256(&seed));
        seed
    };
    let der = |salt: u8| match algorithm {
        Algorithm::ES256 => Some([P256, &seed(salt)[..32]].concat()),
        Algorithm::ES384 => Some([P384, &seed(salt)[..48]].concat()),
        Algorithm::EdDSA => Some([ED25519, &seed(salt)[..32]].concat()),
        _ => None,
    };
    // A few numbers are not valid private keys on the curve, so several are tried.
    let derived = (0..8).find_map(|salt| {
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            wrap(&STANDARD.encode(der(salt)?))
        );
        SigningKey::from_pem(algorithm, pem.as_bytes()).ok()
    });
    derived.unwrap_or_else(|| {
        let start = usize::from(sha256(issuer.as_bytes())[0]);
        let pem = RSA[(start + serial) % RSA.len()];
        SigningKey::from_pem(algorithm, pem).expect("only RSA algorithms are left")
    })
}

/// Wraps text into lines of 64 characters (RFC 7468 §2).
fn wrap(base64: &str) -> String {
    let lines: Vec<_> =
        base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    lines.join("\n")
}

/// A PKCS #8 key on P-256 without its last 32 bytes, the private number (RFC 5958 §2, RFC 5915 §3).
const P256: &[u8] = &[
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];

/// A PKCS #8 key on P-384 without its last 48 bytes, the private number.
const P384: &[u8] = &[
    0x30, 0x4e, 0x02, 0x01, 0x00, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x04, 0x37, 0x30, 0x35, 0x02, 0x01, 0x01, 0x04, 0x30,
];

/// A PKCS #8 key for Ed25519 without its last 32 bytes, the seed (RFC 8410 §7).
const ED25519: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
