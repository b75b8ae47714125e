//! Measures the cost of a cache that is full of other tokens.
//!
//! `cargo bench --bench full`: `made` is what it takes to make facts, without any memory; a `hit` in a
//! memory with nothing else in it, and in one that is full and has been for long; a token that is new
//! and pushes another one out; a refusal that is new and pushes another one out.

#![expect(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

mod support;

use std::{future::Ready, hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tower::Layer;
use tower_introspect::{
    ErrorKind,
    cache::CacheLayer,
    claims::Claims,
    clock::{Moment, SystemClock},
    verify::{ActiveToken, Method, Outcome, Verifier, VerifyRequest, Verifying},
};

use self::support::{ISSUER, answer, at_once, junk, opaque, question};

/// The tokens that the cache has room for, and the times that it was filled.
const ROOM: u64 = 10_000;
const TURNS: u64 = 3;

/// Knows every token but junk, at once.
#[derive(Clone)]
struct ImmediateVerifier {
    issuer: Arc<str>,
    answer: Arc<str>,
}

impl Verifier for ImmediateVerifier {
    type Future = Ready<Outcome>;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        if request.token().secret_str().starts_with("junk") {
            return Verifying::done(Err(ErrorKind::Inactive.into()));
        }
        let start = Moment::now(&SystemClock);
        let claims = Claims::from_json(self.answer.as_bytes()).unwrap();
        let issuer = Arc::clone(&self.issuer);
        Verifying::done(Ok(ActiveToken::new(issuer, claims, Method::Introspection, start)))
    }
}

fn full(criterion: &mut Criterion) {
    let server = ImmediateVerifier { issuer: ISSUER.into(), answer: answer(0).into() };
    let hours = Duration::from_secs(24 * 3_600);
    let room = usize::try_from(ROOM).unwrap();
    let layer = || CacheLayer::new().capacity(room, 1 << 30).max_age(hours).negative_max_age(hours);
    let (alone, crowded) = (layer().layer(server.clone()), layer().layer(server.clone()));
    let known = question("known");
    at_once(&alone, known.clone()).unwrap();
    for n in 0..TURNS * ROOM {
        at_once(&crowded, question(&opaque(n))).unwrap();
        at_once(&crowded, question(&junk(n))).unwrap_err();
        // It is in use all the while.
        at_once(&crowded, known.clone()).unwrap();
    }

    let mut group = criterion.benchmark_group("full");
    group.bench_function("made", |bencher| {
        bencher.iter(|| at_once(black_box(&server), known.clone()).unwrap());
    });
    for (name, cache) in [("hit, alone", &alone), ("hit, full", &crowded)] {
        let before = cache.stats().misses;
        group.bench_function(name, |bencher| {
            bencher.iter(|| at_once(black_box(cache), known.clone()).unwrap());
        });
        assert_eq!(cache.stats().misses, before, "it is remembered");
    }
    for (name, text) in [("new, full", opaque as fn(u64) -> String), ("refused, full", junk)] {
        let mut n = TURNS * ROOM;
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    n += 1;
                    question(&text(n))
                },
                |question| at_once(black_box(&crowded), question).is_ok(),
                BatchSize::SmallInput,
            );
        });
    }
    assert!(crowded.stats().entries <= ROOM + ROOM / 10, "{:?}", crowded.stats());
    group.finish();
}

criterion_group!(benches, full);
criterion_main!(benches);
