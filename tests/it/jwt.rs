//! Local verification of JWTs.
//!
//! Requirements of RFC 7515, 7517, 7518, 7519, 8037, 8725 and 9068: tokens that must be refused,
//! with the expected reason, and tokens that must be accepted. The program's tests include this
//! file too. Comments like J8 name rows of `docs/conformance.md`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "jwt/algorithms.rs"]
mod algorithms;
#[path = "jwt/claims.rs"]
mod claims;
#[path = "jwt/header.rs"]
mod header;
#[path = "jwt/key_sets.rs"]
mod key_sets;
#[path = "jwt/known_answers.rs"]
mod known_answers;
#[path = "jwt/mutations.rs"]
mod mutations;
#[path = "jwt/providers.rs"]
mod providers;
#[path = "jwt/rsa_encodings.rs"]
mod rsa_encodings;
#[path = "jwt/serialization.rs"]
mod serialization;
#[path = "jwt/settings.rs"]
mod settings;

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tower_introspect::{
    ErrorKind, TokenKind,
    credentials::Token,
    jose::{Algorithm, SigningKey},
    jwt::{JwtVerifier, KeySet, Profile},
    verify::{ActiveToken, Verifier, VerifyRequest},
};

use crate::recorded_checks::{RecordedChecks, compare_with_program};

const ISSUER: &str = "https://as.example.com";
const AUDIENCE: &str = "https://api.example.com";

const RSA: &[u8] = include_bytes!("keys/rsa.pem");
const RSA_OTHER: &[u8] = include_bytes!("keys/rsa-other.pem");
const P256: &[u8] = include_bytes!("keys/p256.pem");
const P256_OTHER: &[u8] = include_bytes!("keys/p256-other.pem");
const P384: &[u8] = include_bytes!("keys/p384.pem");
const ED25519: &[u8] = include_bytes!("keys/ed25519.pem");

/// Returns the issuer's key for this algorithm, with the name of the algorithm as `kid`.
fn key(algorithm: Algorithm) -> SigningKey {
    let (pem, kid) = match algorithm {
        Algorithm::ES256 => (P256, "p256"),
        Algorithm::ES384 => (P384, "p384"),
        Algorithm::EdDSA => (ED25519, "ed25519"),
        _ => (RSA, "rsa"),
    };
    SigningKey::from_pem(algorithm, pem).unwrap().with_kid(kid)
}

/// Returns the public JWK of a key, without `alg`.
fn jwk(key: &SigningKey) -> Value {
    let mut jwk = key.public_jwk().unwrap();
    jwk.as_object_mut().unwrap().remove("alg");
    jwk
}

fn key_set(keys: &[Value]) -> KeySet {
    KeySet::from_jwks(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

/// All keys of the issuer.
fn issuer_keys() -> KeySet {
    KeySet::from_jwks(issuer_jwks().as_bytes()).unwrap()
}

fn issuer_jwks() -> String {
    let all = [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
    json!({"keys": all.map(|algorithm| jwk(&key(algorithm)))}).to_string()
}

fn verifier_with(keys: KeySet) -> JwtVerifier {
    JwtVerifier::builder(ISSUER).keys(keys).build().unwrap()
}

fn verifier() -> JwtVerifier {
    static VERIFIER: LazyLock<JwtVerifier> = LazyLock::new(|| verifier_with(issuer_keys()));
    VERIFIER.clone()
}

/// A verifier that takes only tokens of RFC 9068.
fn strict() -> JwtVerifier {
    static VERIFIER: LazyLock<JwtVerifier> = LazyLock::new(|| {
        let builder = JwtVerifier::builder(ISSUER).keys(issuer_keys());
        builder.profile(Profile::Rfc9068).build().unwrap()
    });
    VERIFIER.clone()
}

fn header_of(key: &SigningKey) -> Value {
    let mut header = json!({"alg": key.algorithm().as_str(), "typ": "at+jwt"});
    if let Some(kid) = key.kid() {
        header["kid"] = kid.into();
    }
    header
}

fn claims_of_alice() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": 4_102_444_800_u64,
        "iat": 1_700_000_000,
        "sub": "alice",
        "client_id": "app",
        "jti": "1",
        "scope": "read write",
    })
}

/// Returns `base` with `member` set, or removed if `value` is `null`.
fn with(base: Value, member: &str, value: impl Into<Value>) -> Value {
    let mut base = base;
    match value.into() {
        Value::Null => drop(base.as_object_mut().unwrap().remove(member)),
        value => base[member] = value,
    }
    base
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns a token of these encoded parts and their signature.
fn sign_parts(key: &SigningKey, header: &str, payload: &str) -> String {
    let input = format!("{header}.{payload}");
    let signature = key.sign_bytes(input.as_bytes()).unwrap();
    format!("{input}.{}", encode(signature))
}

/// Returns a token with this header and payload, which need not be JSON.
fn sign_text(key: &SigningKey, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    sign_parts(key, &encode(header), &encode(payload))
}

/// Returns a valid token of `key`.
fn good(key: &SigningKey) -> String {
    key.sign(&header_of(key), &claims_of_alice()).unwrap()
}

/// Returns a token of the issuer's P-256 key that is valid except for this header parameter.
fn with_header(member: &str, value: impl Into<Value>) -> String {
    let key = key(Algorithm::ES256);
    key.sign(&with(header_of(&key), member, value), &claims_of_alice()).unwrap()
}

/// Returns a token of the issuer's P-256 key that is valid except for this claim.
fn with_claim(member: &str, value: impl Into<Value>) -> String {
    let key = key(Algorithm::ES256);
    key.sign(&header_of(&key), &with(claims_of_alice(), member, value)).unwrap()
}

/// Returns the outcome. The tests of the program compare it with the program's verdict.
fn verify(verifier: &JwtVerifier, token: &str) -> Result<ActiveToken, ErrorKind> {
    let outcome = verify_and_record(verifier, token);
    if is_default(verifier) {
        compare_with_program(ISSUER, &issuer_jwks(), token, outcome.as_ref().err().copied());
    }
    outcome
}

fn verify_and_record(verifier: &JwtVerifier, token: &str) -> Result<ActiveToken, ErrorKind> {
    let token = Token::bearer(token).expect("not a b64token");
    let checks = RecordedChecks::record();
    let verification = verifier.verify(VerifyRequest::new(token));
    let outcome = verification.now_or_later().expect("the verification waits");
    let outcome = outcome.map_err(|error| error.kind());
    checks.expect_reason(outcome.as_ref().err().copied());
    outcome
}

/// Returns true if it equals the verifier of [`verifier`].
fn is_default(verifier: &JwtVerifier) -> bool {
    static DEFAULT: LazyLock<String> = LazyLock::new(|| format!("{:?}", super::jwt::verifier()));
    format!("{verifier:?}") == *DEFAULT
}

#[track_caller]
fn accepts(verifier: &JwtVerifier, token: &str) -> ActiveToken {
    verify(verifier, token).expect("accepted")
}

#[track_caller]
fn refuses(verifier: &JwtVerifier, token: &str, kind: ErrorKind) {
    assert_eq!(verify(verifier, token).map(drop), Err(kind));
}
