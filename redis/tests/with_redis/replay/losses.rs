//! A Redis that has lost its data.

use std::time::Duration;

use tower_introspect::{
    clock::{Moment, UnixTime},
    proof::{Mark, Marked},
    test_util::TestClock,
};

use super::{FIRST, MarkError, REPLAYED, Server, all_parts_are_known, send, set, store};

const LOST: Result<Marked, MarkError> = Err(MarkError::MarksLost);

/// The time for which proofs are in doubt: the longest life, the difference of clocks, and the time that a mark may
/// take. Each is a minute or less.
const DOUBT: i64 = 60 + 5 + 60;

/// Returns the mark of a proof that is sent at `now` and expires at `until`, in seconds of one clock.
fn mark(jti: &str, now: i64, until: i64) -> Mark {
    let now = Moment::now(&TestClock::new(UnixTime::from_secs(now)));
    Mark::new("client", jti, now, UnixTime::from_secs(until))
}

#[tokio::test]
async fn proof_that_was_used_before_a_restart_without_data_is_refused() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let store = store(server.manager(""));
    assert_eq!(set(&store, mark("a", 1000, 1060)).await, LOST, "Redis is new");
    all_parts_are_known(&mut server.connection().await).await;
    assert_eq!(set(&store, mark("b", 2000, 2060)).await, FIRST);
    server.kill();
    let connection = Err(MarkError::Connection);
    assert_eq!(set(&store, mark("c", 2001, 2061)).await, connection);
    server.restart().await;
    let mut outcome = connection;
    while outcome == connection {
        outcome = set(&store, mark("b", 2002, 2060)).await;
    }
    assert_eq!(outcome, LOST, "a used proof must not be good again");
    assert_eq!(set(&store, mark("b", 2003, 2060)).await, REPLAYED, "it is marked by then");
}

#[tokio::test]
async fn flushed_redis_is_noticed_by_all_instances_for_every_proof() {
    let Some(server) = Server::settled(&[]).await else { return };
    let mut connection = server.connection().await;
    let (one, other) = (store(server.connection().await), store(server.connection().await));
    for n in 0..200 {
        assert_eq!(set(&one, mark(&n.to_string(), 1000, 1060)).await, FIRST);
    }
    send(&mut connection, "FLUSHALL").await;
    for n in 0..200 {
        assert_eq!(set(&other, mark(&n.to_string(), 1001, 1060)).await, LOST);
    }
}

#[tokio::test]
async fn doubt_ends_when_all_proofs_of_the_time_before_have_expired() {
    let Some(server) = Server::start(&[]).await else { return };
    let store = store(server.connection().await);
    // What one mark notices holds for all proofs, also for those that are in other parts.
    assert_eq!(set(&store, mark("a", 1000, 1060)).await, LOST);
    all_parts_are_known(&mut server.connection().await).await;
    for n in 0..200 {
        let late = 1000 + DOUBT;
        assert_eq!(set(&store, mark(&format!("b{n}"), late - 31, late - 1)).await, LOST);
        // The other parts were asked within five seconds.
        assert_eq!(set(&store, mark(&format!("c{n}"), late - 25, late + 5)).await, FIRST);
    }
}

#[tokio::test]
async fn check_of_a_new_redis_starts_the_time_of_doubt() {
    let Some(server) = Server::start(&[]).await else { return };
    let store = store(server.connection().await);
    let report = store.check().await;
    let doubt = report.doubt.expect("it is known");
    assert!(doubt > Duration::from_secs(125), "{doubt:?}");
    assert!(report.problems().iter().any(|problem| problem.contains("new")));
    let later = store.check().await.doubt.expect("it is known");
    assert!(later < doubt, "{later:?}");
}

#[tokio::test]
async fn losses_are_accepted_if_asked_for() {
    let Some(server) = Server::start(&[]).await else { return };
    let mut connection = server.connection().await;
    let store = store(connection.clone()).danger_accept_losses();
    assert_eq!(set(&store, mark("a", 1000, 1060)).await, FIRST);
    assert_eq!(set(&store, mark("a", 1001, 1060)).await, REPLAYED);
    send(&mut connection, "FLUSHALL").await;
    assert_eq!(set(&store, mark("a", 1002, 1060)).await, FIRST);
    assert_eq!(store.check().await.doubt, None);
}
