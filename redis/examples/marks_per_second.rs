//! Measures how many proofs are marked each second in memory and in a Redis.
//!
//! ```sh
//! cargo run --release -p tower-introspect-redis --example marks_per_second -- redis://127.0.0.1/
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use tower_introspect::{
    clock::{Clock as _, Moment, SystemClock},
    proof::{Mark, Marked, MemoryReplay, ReplayStore},
};
use tower_introspect_redis::RedisReplayStore;

const MARKS: u64 = 100_000;

const LIFE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("the URL of a Redis that can be filled is missing")?;
    let client = redis::Client::open(url)?;
    let redis = RedisReplayStore::new(client.get_multiplexed_async_connection().await?)
        .prefix(format!("measured-{}:", SystemClock.now().as_millis()))
        .timeout(Duration::from_secs(1))
        .longest_proof(LIFE);
    // The prefix is new, so proofs are in doubt for a while.
    tokio::time::sleep(redis.check().await.doubt.ok_or("Redis does not respond")?).await;
    let memory = MemoryReplay::new().max_bytes(1 << 30).max_proofs_of_a_key(usize::MAX);
    let (memory, redis) = (Arc::new(memory), Arc::new(redis));
    println!("at a time  memory/s  Redis/s");
    for at_a_time in [1, 10, 100] {
        let (memory, redis) =
            (measure(&memory, at_a_time).await?, measure(&redis, at_a_time).await?);
        println!("{at_a_time:9} {memory:9.0} {redis:8.0}");
    }
    Ok(())
}

/// Returns how many marks are set each second, with so many tasks that set one after the other.
async fn measure(store: &Arc<impl ReplayStore>, at_a_time: u64) -> Result<f64, Box<dyn Error>> {
    let start = Moment::now(&SystemClock);
    let tasks = (0..at_a_time).map(|task| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for n in 0..MARKS / at_a_time {
                let now = Moment::now(&SystemClock);
                let until = now.wall().saturating_add(LIFE);
                let mark = Mark::new("client", &format!("{at_a_time}-{task}-{n}"), now, until);
                let marked = match store.mark(mark).now_or_later() {
                    Ok(outcome) => outcome,
                    Err(later) => later.await,
                };
                assert!(matches!(marked, Ok(Marked::First)), "{marked:?}");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await?;
    }
    let elapsed = SystemClock.now().saturating_duration_since(start.wall());
    Ok(MARKS as f64 / elapsed.as_secs_f64())
}
