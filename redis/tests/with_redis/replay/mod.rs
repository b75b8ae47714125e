//! Used proofs in a real Redis, and what happens when it fails.

mod cluster;
mod end_to_end;
mod failures;
mod losses;
mod marks;
mod overload;
mod permissions;
mod replicas;

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tower_introspect::{
    clock::{Moment, SystemClock},
    proof::{Mark, Marked, ReplayStore},
};
use tower_introspect_redis::{MarkError, RedisReplayStore};

use crate::server::{LONG, Server, send};

/// The time for which the proofs of these tests are good.
const LIFE: Duration = Duration::from_secs(60);

/// A store that waits for as long as it takes.
fn store<C>(connection: C) -> RedisReplayStore<C> {
    RedisReplayStore::new(connection).timeout(LONG).longest_proof(LIFE)
}

/// Returns the mark of a proof that is made now.
fn mark(jti: &str) -> Mark {
    mark_for(jti, LIFE)
}

/// Returns the mark of a proof that is good for this time.
fn mark_for(jti: &str, life: Duration) -> Mark {
    let now = Moment::now(&SystemClock);
    Mark::new("client", jti, now, now.wall().saturating_add(life))
}

/// Marks a proof.
async fn set(store: &impl ReplayStore, mark: Mark) -> Result<Marked, MarkError> {
    match store.mark(mark).now_or_later() {
        Ok(outcome) => outcome,
        Err(later) => later.await,
    }
    .map_err(|error| *error.downcast().expect("errors of the store are of this type"))
}

/// Marks a proof that is made now.
async fn set_new(store: &impl ReplayStore, jti: &str) -> Result<Marked, MarkError> {
    set(store, mark(jti)).await
}

const FIRST: Result<Marked, MarkError> = Ok(Marked::First);
const REPLAYED: Result<Marked, MarkError> = Ok(Marked::Replayed);

/// Returns the keys of all marks.
async fn mark_keys(connection: &mut MultiplexedConnection) -> Vec<String> {
    redis::cmd("KEYS").arg("*}:????????*").query_async(connection).await.expect("keys")
}

/// Returns the keys that tell since when Redis has its data.
async fn since_keys(connection: &mut MultiplexedConnection) -> Vec<String> {
    redis::cmd("KEYS").arg("*}:since").query_async(connection).await.expect("keys")
}

/// Waits until all parts of the key space are known to be new.
async fn all_parts_are_known(connection: &mut MultiplexedConnection) {
    let known = async {
        while since_keys(connection).await.len() < 64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(testing::host::PATIENCE, known).await.expect("64 parts");
}

/// Makes Redis one that has had its data for long.
pub(crate) async fn settle(connection: &mut MultiplexedConnection) {
    for part in 0..64 {
        send(connection, &format!("SET tower-introspect:dpop:{{{part:02x}}}:since 0")).await;
    }
}
