//! Measures what the middleware adds to a request whose token is cached.
//!
//! `cargo bench --bench hit`: `bare` is the handler alone; `floor` does what nothing that remembers
//! tokens can do without, a SHA-256 digest of the token and an `Arc` for the handler; `hit` is the
//! whole middleware of a resource server with one issuer, `routed` that of one with two, which tells
//! them apart by the token. What counts is how far each is above `bare`.
//!
//! `owned` shows what the lookup that borrows the token (`Verifier::cached`) saves: it is a hit without
//! that lookup.

#![expect(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

mod support;

use std::{
    hint::black_box,
    sync::Arc,
    task::{Context, Poll},
};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{Request, header::AUTHORIZATION};
use tower::{Layer, Service};
use tower_introspect::{
    IntrospectLayer, ResourceServer,
    jose::{Algorithm, SigningKey},
    verify::{BoxVerifier, Verifier, VerifyRequest, Verifying},
};

use self::support::{
    Free, ISSUER, RSA, api, call, jwt, learn, local, opaque, public, received, remote, runtime,
};

const OTHER: &str = "https://other.example.com";

/// The least that a layer with a memory does.
struct Floor {
    inner: Free,
    facts: Arc<[u8; 32]>,
}

impl Service<Request<Bytes>> for Floor {
    type Response = <Free as Service<Request<Bytes>>>::Response;
    type Error = <Free as Service<Request<Bytes>>>::Error;
    type Future = <Free as Service<Request<Bytes>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Bytes>) -> Self::Future {
        let value = request.headers().get(AUTHORIZATION).unwrap();
        let token = value.as_bytes().strip_prefix(b"Bearer ").unwrap();
        black_box(digest(&SHA256, token));
        request.extensions_mut().insert(Arc::clone(&self.facts));
        self.inner.call(request)
    }
}

/// A verifier that looks a token up only once it owns it.
#[derive(Clone)]
struct Owned(BoxVerifier);

impl Verifier for Owned {
    type Future = <BoxVerifier as Verifier>::Future;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        self.0.verify(request)
    }
}

fn hits(criterion: &mut Criterion) {
    let key = SigningKey::from_pem(Algorithm::RS256, RSA).unwrap().with_kid("2026-11");
    let keys = public(&key);
    let given = || local(ISSUER, keys.clone());
    compare(
        criterion,
        "opaque",
        &opaque(0),
        &api(|api| api.issuer(remote(ISSUER))),
        &api(|api| api.issuer(local(OTHER, keys.clone())).issuer(remote(ISSUER))),
    );
    compare(
        criterion,
        "jwt",
        &jwt(&key, 0),
        &api(|api| api.issuer(given())),
        &api(|api| api.issuer(given()).issuer(remote(OTHER))),
    );
}

fn compare(
    criterion: &mut Criterion,
    name: &str,
    token: &str,
    one: &ResourceServer,
    two: &ResourceServer,
) {
    let runtime = runtime();
    let authorization = format!("Bearer {token}");
    let request = || received(Some(&authorization));
    let mut group = criterion.benchmark_group(name);
    group.bench_function("bare", |bencher| {
        bencher.iter_batched(request, |request| call(&mut Free, request), BatchSize::SmallInput);
    });
    let mut floor = Floor { inner: Free, facts: Arc::new([0; 32]) };
    group.bench_function("floor", |bencher| {
        bencher.iter_batched(request, |request| call(&mut floor, request), BatchSize::SmallInput);
    });
    for (name, api) in [("hit", one), ("routed", two)] {
        learn(&runtime, api, token).unwrap();
        let mut service = api.layer().layer(Free);
        assert_eq!(call(&mut service, request()).status(), 200);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                request,
                |request| call(&mut service, request),
                BatchSize::SmallInput,
            );
        });
        assert_eq!(api.stats().misses, 1, "all but the first were remembered");
    }
    let layer = IntrospectLayer::new(Owned(one.verifier()), one.policy());
    let mut service = layer.layer(Free);
    group.bench_function("owned", |bencher| {
        bencher.iter_batched(request, |request| call(&mut service, request), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, hits);
criterion_main!(benches);
