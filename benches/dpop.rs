//! Measures the cost of a request with a proof beyond one with a bearer token, in signature checks of
//! the proof, which can't be saved.
//!
//! `cargo bench --bench dpop`: for each algorithm `raw` is AWS-LC with the key as it comes in a proof, to
//! be parsed first; `bearer` and `dpop` are requests through the middleware with a token that is
//! remembered, as a resource server does by default. (`dpop` - `bearer`) / `raw` is the figure.

#![expect(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

use std::{convert::Infallible, future::Ready, hint::black_box, time::Duration};

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use pkcs8::der::{Encode as _, asn1::UintRef};
use tower::{Layer as _, Service as _, service_fn};
use tower_introspect::{
    IntrospectLayer, Policy,
    cache::{Cache, CacheLayer},
    claims::Claims,
    clock::{Moment, SystemClock},
    jose::{Algorithm, SigningKey},
    proof::{Dpop, MemoryReplay},
    test_util::Prover,
    verify::{ActiveToken, Method, Outcome, Verifier, VerifyRequest, Verifying},
};

const RSA: &[u8] = include_bytes!("../tests/it/keys/rsa.pem");
const P256: &[u8] = include_bytes!("../tests/it/keys/p256.pem");
const ED25519: &[u8] = include_bytes!("../tests/it/keys/ed25519.pem");

const URL: &str = "https://api.example.com/payments";

/// A token of the usual length.
const TOKEN: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjIwMjYtMTEifQ",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjIwMjYtMTEifQ",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjIwMjYtMTEifQ",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjIwMjYtMTEifQ",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjIwMjYtMTEifQ",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjIwMjYtMTEifQ",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjIwMjYtMTEifQ",
    "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjIwMjYtMTEifQ",
);

#[derive(Clone)]
struct ImmediateVerifier(ActiveToken);

impl Verifier for ImmediateVerifier {
    type Future = Ready<Outcome>;

    fn verify(&self, _: VerifyRequest) -> Verifying<Self::Future> {
        Verifying::done(Ok(self.0.clone()))
    }
}

fn verifier(cnf: &str) -> Cache<ImmediateVerifier> {
    let claims = format!("{{\"sub\":\"alice\",\"aud\":\"https://api.example.com\"{cnf}}}");
    let claims = Claims::from_json(claims.as_bytes()).unwrap();
    let start = Moment::now(&SystemClock);
    let active = ActiveToken::new("https://as.example.com", claims, Method::Custom, start);
    // For the whole benchmark.
    CacheLayer::new().max_age(Duration::from_secs(24 * 3_600)).layer(ImmediateVerifier(active))
}

fn request(fields: &[(&'static str, String)]) -> Request<Bytes> {
    let mut request = Request::get("/payments");
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    request.body(Bytes::new()).unwrap()
}

/// Times requests through a layer, each of them made outside of the measurement.
fn measure(
    criterion: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    layer: &IntrospectLayer<Cache<ImmediateVerifier>>,
    mut make: impl FnMut() -> Request<Bytes>,
) {
    let mut service = layer.layer(service_fn(|_: Request<Bytes>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Bytes::new())))
    }));
    criterion.bench_function(name, |bencher| {
        bencher.iter_batched(
            &mut make,
            |request| {
                let response = service.call(request).now_or_never().unwrap().unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                response
            },
            BatchSize::SmallInput,
        );
    });
}

fn proofs(criterion: &mut Criterion) {
    let cases: [(Algorithm, &[u8], &'static dyn VerificationAlgorithm); 4] = [
        (Algorithm::ES256, P256, &signature::ECDSA_P256_SHA256_FIXED),
        (Algorithm::EdDSA, ED25519, &signature::ED25519),
        (Algorithm::RS256, RSA, &signature::RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::PS256, RSA, &signature::RSA_PSS_2048_8192_SHA256),
    ];
    for (algorithm, pem, raw) in cases {
        let prover = Prover::with_key(SigningKey::from_pem(algorithm, pem).unwrap());
        let mut group = criterion.benchmark_group(algorithm.as_str());

        let proof = prover.proof("GET", URL).for_token(TOKEN).mint();
        let (input, encoded) = proof.rsplit_once('.').unwrap();
        let decoded = URL_SAFE_NO_PAD.decode(encoded).unwrap();
        let key = UnparsedPublicKey::new(raw, public(&prover));
        group.bench_function("raw", |bencher| {
            bencher.iter(|| key.verify(black_box(input.as_bytes()), &decoded).unwrap());
        });

        let policy = Policy::new("https://api.example.com");
        let layer = IntrospectLayer::new(verifier(""), policy.clone());
        measure(&mut group, "bearer", &layer, || {
            request(&[("authorization", format!("Bearer {TOKEN}"))])
        });

        let bound = verifier(&format!(",\"cnf\":{{\"jkt\":\"{}\"}}", prover.thumbprint()));
        let replay = MemoryReplay::new().max_bytes(4 << 30).max_proofs_of_a_key(usize::MAX);
        let dpop = Dpop::new("https://api.example.com").unwrap().replay_store(replay);
        let dpop = dpop.algorithms([algorithm]);
        let layer = IntrospectLayer::new(bound.clone(), policy.clone().dpop(dpop.clone()));
        let mint = || prover.proof("GET", URL).for_token(TOKEN);
        let with =
            |proof: String| request(&[("authorization", format!("DPoP {TOKEN}")), ("dpop", proof)]);
        measure(&mut group, "dpop", &layer, || with(mint().mint()));

        let layer = IntrospectLayer::new(bound, policy.dpop(dpop.require_nonce()));
        let refused = layer
            .layer(service_fn(|_: Request<Bytes>| {
                std::future::ready(Ok::<_, Infallible>(Response::new(Bytes::new())))
            }))
            .call(with(mint().mint()))
            .now_or_never()
            .unwrap()
            .unwrap();
        let nonce = refused.headers()["dpop-nonce"].to_str().unwrap().to_owned();
        measure(&mut group, "dpop-nonce", &layer, || with(mint().nonce(&nonce).mint()));
        group.finish();
    }
}

/// The public key as AWS-LC wants it.
fn public(prover: &Prover) -> Vec<u8> {
    let jwk = prover.jwk();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    match jwk["kty"].as_str().unwrap() {
        "RSA" => {
            let (modulus, exponent) = (number("n"), number("e"));
            [&modulus, &exponent].map(|number| UintRef::new(number).unwrap()).to_der().unwrap()
        }
        "EC" => [&[4], &*number("x"), &*number("y")].concat(),
        _ => number("x"),
    }
}

criterion_group!(benches, proofs);
criterion_main!(benches);
