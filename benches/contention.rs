//! Measures the cost of sharing a cache among threads.
//!
//! `cargo bench --bench contention`: the time of one verification in each of so many threads, all of
//! the same token, or each of another one at a time. `nothing shared` is what the machine makes of as
//! many threads that have nothing to do with each other: the others can be no better than that.

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
use tower_introspect::verify::VerifyRequest;

use self::support::{ISSUER, api, at_once, learn, opaque, question, remote, runtime};

/// The number of tokens in the case "many". A power of two.
const MANY: u64 = 4_096;

fn contention(criterion: &mut Criterion) {
    let runtime = runtime();
    // With room to spare, so that none is pushed out.
    let api = api(|api| api.issuer(remote(ISSUER)).cache_capacity(100_000, 1 << 30));
    for n in 0..MANY {
        learn(&runtime, &api, &opaque(n)).unwrap();
    }
    let verifier = api.verifier();
    let verify = |question: &VerifyRequest| {
        black_box(at_once(&verifier, question.clone()).unwrap());
    };
    let digest = |question: &VerifyRequest| {
        black_box(question.fingerprint());
    };
    compare(criterion, "one token", 1, &verify);
    compare(criterion, "many tokens", MANY, &verify);
    compare(criterion, "nothing shared", 1, &digest);
    assert_eq!(api.stats().misses, MANY, "all were remembered");
}

fn compare(
    criterion: &mut Criterion,
    name: &str,
    tokens: u64,
    work: &(impl Fn(&VerifyRequest) + Sync),
) {
    let mut group = criterion.benchmark_group(name);
    for threads in 1..=4 {
        group.throughput(Throughput::Elements(threads));
        group.bench_function(format!("{threads} threads"), |bencher| {
            bencher.iter_custom(|rounds| race(work, tokens, threads, rounds));
        });
    }
    group.finish();
}

/// Returns the time that `threads` take to do their work, `rounds` times each.
fn race(
    work: &(impl Fn(&VerifyRequest) + Sync),
    tokens: u64,
    threads: u64,
    rounds: u64,
) -> Duration {
    let rounds = usize::try_from(rounds).unwrap();
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
                    questions.iter().cycle().take(rounds).for_each(work);
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
