//! Measures the cost of refusing a request, which anyone can send.
//!
//! `cargo bench --bench refusal`: `bare` is the handler alone, the others are refused by the
//! middleware of a resource server without a question to anybody.

#![expect(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

mod support;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tower::Layer;
use tower_introspect::jose::{Algorithm, SigningKey};

use self::support::{
    Free, ISSUER, P256, P256_OTHER, api, call, junk, jwt, learn, local, public, received, remote,
    runtime,
};

fn refusals(criterion: &mut Criterion) {
    let runtime = runtime();
    let key = SigningKey::from_pem(Algorithm::ES256, P256).unwrap().with_kid("2026-11");
    let opaque = api(|api| api.issuer(remote(ISSUER)));
    let signed = api(|api| api.issuer(local(ISSUER, public(&key))));
    let inactive = junk(0);
    learn(&runtime, &opaque, &inactive).unwrap_err();
    let other = SigningKey::from_pem(Algorithm::ES256, P256_OTHER).unwrap().with_kid("2026-11");
    let forged = jwt(&other, 0);

    let mut group = criterion.benchmark_group("refused");
    group.bench_function("bare", |bencher| {
        bencher.iter_batched(
            || received(None),
            |request| call(&mut Free, request),
            BatchSize::SmallInput,
        );
    });
    for (name, api, authorization, status) in [
        ("no token", &opaque, None, 401),
        ("another scheme", &opaque, Some("Basic YXBpOnMzY3JldA==".to_owned()), 401),
        ("malformed", &opaque, Some("Bearer \"not a token\"".to_owned()), 400),
        ("remembered as inactive", &opaque, Some(format!("Bearer {inactive}")), 401),
        ("no JWT", &signed, Some("Bearer 2YotnFZFEjr1zCsicMWpAA".to_owned()), 401),
        ("remembered as forged", &signed, Some(format!("Bearer {forged}")), 401),
    ] {
        let mut service = api.layer().layer(Free);
        let request = || received(authorization.as_deref());
        assert_eq!(call(&mut service, request()).status(), status, "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                request,
                |request| call(&mut service, request),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, refusals);
criterion_main!(benches);
