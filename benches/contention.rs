//! What threads that use the same memory cost each other.
//!
//! `cargo bench --bench contention`: the time of one verification in each of so many threads, all of
//! the same token, or each of another one at a time. Where there are as many cores as threads, and
//! nobody is in anyone's way, it is the same for all.

#![expect(clippy::unwrap_used, reason = "a benchmark that panics has failed")]
#![expect(clippy::disallowed_methods, reason = "a benchmark takes the time")]

mod support;

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tower_introspect::verify::{BoxVerifier, VerifyRequest};

use self::support::{ISSUER, api, at_once, learn, opaque, question, remote, runtime};

/// How many tokens are "many". A power of two.
const MANY: u64 = 4_096;

fn contention(criterion: &mut Criterion) {
    let runtime = runtime();
    // With room to spare, so that none is pushed out.
    let api = api(|api| api.issuer(remote(ISSUER)).cache_capacity(100_000, 1 << 30));
    for n in 0..MANY {
        learn(&runtime, &api, &opaque(n)).unwrap();
    }
    let verifier = api.verifier();
    for (name, tokens) in [("one token", 1), ("many tokens", MANY)] {
        let mut group = criterion.benchmark_group(name);
        for threads in 1..=4 {
            group.throughput(Throughput::Elements(threads));
            group.bench_function(format!("{threads} threads"), |bencher| {
                bencher.iter_custom(|rounds| race(&verifier, tokens, threads, rounds));
            });
        }
        group.finish();
    }
    assert_eq!(api.stats().misses, MANY, "all were remembered");
}

/// How long `threads` take to verify tokens, `rounds` times each.
fn race(verifier: &BoxVerifier, tokens: u64, threads: u64, rounds: u64) -> Duration {
    let gate = Barrier::new(usize::try_from(threads).unwrap() + 1);
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|thread| {
                // Each thread has requests of its own, as they come, and starts elsewhere.
                let first = thread * tokens / threads;
                let questions: Vec<VerifyRequest> =
                    (0..tokens).map(|n| question(&opaque((first + n) % tokens))).collect();
                let gate = &gate;
                scope.spawn(move || {
                    gate.wait();
                    for question in questions.iter().cycle().take(usize::try_from(rounds).unwrap())
                    {
                        black_box(at_once(verifier, question.clone()).unwrap());
                    }
                })
            })
            .collect();
        gate.wait();
        let start = Instant::now();
        for one in all {
            one.join().unwrap();
        }
        start.elapsed()
    })
}

criterion_group!(benches, contention);
criterion_main!(benches);
