//! A Redis that is down, killed, suspended, slow or full.

use std::time::Duration;

use testing::host::PATIENCE;

use super::{FIRST, MarkError, REPLAYED, Server, send, set_new, settle, store};

/// The default of [`RedisReplayStore::timeout`](tower_introspect_redis::RedisReplayStore::timeout).
const SHORT: Duration = Duration::from_millis(20);

/// Marks proofs until one is marked.
async fn recovers<C>(store: &tower_introspect_redis::RedisReplayStore<C>)
where
    C: redis::aio::ConnectionLike + Clone + Send + Sync + 'static,
{
    let marked = async {
        for n in 0.. {
            if set_new(store, &format!("recovered-{n}")).await == FIRST {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, marked).await.expect("it does not recover");
}

#[tokio::test]
async fn redis_that_is_down_at_start_is_an_error_until_it_is_up() {
    let Some(mut server) = Server::settled(&[]).await else { return };
    server.kill();
    let store = store(server.manager(""));
    assert_eq!(set_new(&store, "a").await, Err(MarkError::Connection));
    let report = store.check().await;
    assert_eq!(report.marks, Err(MarkError::Connection));
    assert_eq!((report.keeps_marks, report.doubt), (None, None));
    server.restart().await;
    settle(&mut server.connection().await).await;
    recovers(&store).await;
}

#[tokio::test]
async fn redis_that_is_killed_is_an_error_until_it_is_up() {
    let Some(mut server) = Server::settled(&[]).await else { return };
    let (managed, bare) = (store(server.manager("")), store(server.connection().await));
    assert_eq!(set_new(&managed, "a").await, FIRST);
    server.kill();
    for store in [&set_new(&managed, "b").await, &set_new(&bare, "b").await] {
        assert_eq!(*store, Err(MarkError::Connection));
    }
    server.restart().await;
    settle(&mut server.connection().await).await;
    recovers(&managed).await;
    // A connection that is not made anew stays broken.
    assert_eq!(set_new(&bare, "c").await, Err(MarkError::Connection));
}

/// The proof is marked when Redis goes on, so a second attempt would be told that it was used before.
#[tokio::test]
async fn suspended_redis_is_a_timeout_and_the_mark_is_not_sent_again() {
    let Some(server) = Server::settled(&[]).await else { return };
    let connection = server.connection().await;
    let (hasty, patient) = (store(connection.clone()).timeout(SHORT), store(connection));
    assert_eq!(set_new(&patient, "a").await, FIRST);
    let stopped = server.stop();
    assert_eq!(set_new(&hasty, "b").await, Err(MarkError::Timeout));
    drop(stopped);
    assert_eq!(set_new(&patient, "b").await, REPLAYED);
    assert_eq!(set_new(&patient, "c").await, FIRST);
    let mut connection = server.connection().await;
    let calls = send(&mut connection, "INFO commandstats").await;
    // Two commands for each of the four marks, and those that `settled` sent.
    let calls = calls.split("cmdstat_set:calls=").nth(1).and_then(|rest| rest.split(',').next());
    assert_eq!(calls, Some((2 * 4 + 64).to_string().as_str()));
}

#[tokio::test]
async fn slow_redis_is_a_timeout_for_those_who_do_not_wait() {
    let Some(server) = Server::settled(&[]).await else { return };
    let mut connection = server.connection().await;
    let hasty = store(server.connection().await).timeout(SHORT);
    let patient = store(server.connection().await);
    send(&mut connection, "CLIENT PAUSE 1000 WRITE").await;
    assert_eq!(set_new(&hasty, "a").await, Err(MarkError::Timeout));
    assert_eq!(set_new(&patient, "b").await, FIRST);
    assert_eq!(set_new(&patient, "a").await, REPLAYED);
}

#[tokio::test]
async fn full_redis_that_evicts_nothing_is_an_error() {
    let Some(server) = Server::settled(&[]).await else { return };
    let mut connection = server.connection().await;
    let store = store(connection.clone());
    assert_eq!(set_new(&store, "a").await, FIRST);
    send(&mut connection, "CONFIG SET maxmemory 1").await;
    assert_eq!(set_new(&store, "b").await, Err(MarkError::Full));
    let report = store.check().await;
    assert_eq!((report.marks, report.keeps_marks), (Err(MarkError::Full), Some(true)));
    assert_eq!(set_new(&store, "a").await, Err(MarkError::Full), "never an admission");
    send(&mut connection, "CONFIG SET maxmemory 0").await;
    assert_eq!(set_new(&store, "a").await, REPLAYED);
    assert_eq!(set_new(&store, "b").await, FIRST);
}

#[tokio::test]
async fn redis_that_evicts_is_reported() {
    let Some(server) = Server::settled(&[]).await else { return };
    let mut connection = server.connection().await;
    let store = store(connection.clone());
    let report = store.check().await;
    assert_eq!((report.marks, report.keeps_marks), (Ok(()), Some(true)));
    assert_eq!((report.is_replica, report.is_cluster), (Some(false), Some(false)));
    for policy in ["allkeys-lru", "volatile-ttl", "volatile-lru", "allkeys-random"] {
        send(&mut connection, &format!("CONFIG SET maxmemory-policy {policy}")).await;
        let report = store.check().await;
        assert_eq!(report.keeps_marks, Some(false), "{policy}");
        assert!(report.problems().iter().any(|problem| problem.contains("noeviction")));
    }
}
