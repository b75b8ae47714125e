//! A simulation of instances that share cutoffs, with every fault of Redis and of the network.
//!
//! Everything runs in one thread and in paused time. A seed repeats the schedule; identifiers are random,
//! and no rule depends on them but the time of merges. `SIM_SEEDS` sets the number of seeds, `SIM_SEED`
//! runs one of them and prints its story.

#![expect(clippy::disallowed_methods, reason = "the simulation measures Tokio's paused time")]

mod server;
mod world;

use testing::random;
use world::World;

/// The steps of one simulation, each up to two seconds long.
const STEPS: usize = 60;

/// Runs one simulation. Returns its story, and the fault if there is one.
fn simulate(seed: u64) -> (Vec<String>, Result<(), String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(seed, 2 + usize::try_from(seed % 3).expect("small"));
        let outcome = async {
            for _ in 0..STEPS {
                world.step().await;
                world.check()?;
            }
            world.settle().await
        }
        .await;
        (world.story.iter().map(ToString::to_string).collect(), outcome)
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn promise_12_every_current_instance_knows_what_was_told_whatever_fails() {
    if let Some(seed) = number("SIM_SEED") {
        let (story, outcome) = simulate(seed);
        println!("{}", story.join("\n"));
        return outcome.expect("no fault");
    }
    for seed in 0..number("SIM_SEEDS").unwrap_or(100) {
        let (story, outcome) = simulate(seed);
        if let Err(fault) = outcome {
            panic!("seed {seed}: {fault}\n{}", story.join("\n"));
        }
    }
}
