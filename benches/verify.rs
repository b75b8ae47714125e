//! Measures the cost of verifying a JWT beyond the check of its signature, which can't be saved.
//!
//! `cargo bench --bench verify`: for each algorithm `raw` is AWS-LC with a key that is parsed
//! already and a signature that is decoded already, `token` the whole verification.

#![expect(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

mod support;

use std::hint::black_box;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{Criterion, criterion_group, criterion_main};
use pkcs8::der::{Encode as _, asn1::UintRef};
use tower_introspect::{
    jose::{Algorithm, SigningKey},
    jwt::JwtVerifier,
};

use self::support::{ED25519, ISSUER, P256, P384, RSA, at_once, jwt, public, question};

/// The public key as AWS-LC wants it.
fn parse(key: &SigningKey, algorithm: &'static dyn VerificationAlgorithm) -> ParsedPublicKey {
    let jwk = key.public_jwk().unwrap();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    match jwk["kty"].as_str().unwrap() {
        "RSA" => {
            let (modulus, exponent) = (number("n"), number("e"));
            let key = [&modulus, &exponent].map(|number| UintRef::new(number).unwrap());
            ParsedPublicKey::new(algorithm, key.to_der().unwrap()).unwrap()
        }
        "EC" => {
            let point = [&[4], &*number("x"), &*number("y")].concat();
            ParsedPublicKey::new(algorithm, point).unwrap()
        }
        _ => ParsedPublicKey::new(algorithm, number("x")).unwrap(),
    }
}

fn cold(criterion: &mut Criterion) {
    let cases: [(Algorithm, &[u8], &'static dyn VerificationAlgorithm); 5] = [
        (Algorithm::RS256, RSA, &signature::RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::PS256, RSA, &signature::RSA_PSS_2048_8192_SHA256),
        (Algorithm::ES256, P256, &signature::ECDSA_P256_SHA256_FIXED),
        (Algorithm::ES384, P384, &signature::ECDSA_P384_SHA384_FIXED),
        (Algorithm::EdDSA, ED25519, &signature::ED25519),
    ];
    for (algorithm, pem, raw) in cases {
        let key = SigningKey::from_pem(algorithm, pem).unwrap().with_kid("2026-11");
        let token = jwt(&key, 0);
        let mut group = criterion.benchmark_group(algorithm.as_str());

        let parsed = parse(&key, raw);
        let (input, encoded) = token.rsplit_once('.').unwrap();
        let decoded = URL_SAFE_NO_PAD.decode(encoded).unwrap();
        group.bench_function("raw", |bencher| {
            bencher.iter(|| parsed.verify_sig(black_box(input.as_bytes()), &decoded).unwrap());
        });

        let verifier = JwtVerifier::builder(ISSUER).keys(public(&key)).build().unwrap();
        let question = question(&token);
        group.bench_function("token", |bencher| {
            bencher.iter(|| at_once(&verifier, black_box(&question).clone()).unwrap());
        });
        group.finish();
    }
}

criterion_group!(benches, cold);
criterion_main!(benches);
