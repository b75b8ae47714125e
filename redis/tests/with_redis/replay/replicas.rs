//! Replicas.

use std::time::Duration;

use testing::host::PATIENCE;

use super::{FIRST, LONG, MarkError, REPLAYED, Server, mark_keys, send, set_new, store};

/// Starts a server and its replica, which has its data.
async fn pair() -> Option<(Server, Server)> {
    let primary = Server::settled(&[]).await?;
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]).await?;
    let mut connection = replica.connection().await;
    let follows = async {
        while !send(&mut connection, "INFO replication").await.contains("master_link_status:up") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, follows).await.expect("it does not follow");
    Some((primary, replica))
}

#[tokio::test]
async fn replica_that_is_read_only_is_an_error() {
    let Some((primary, replica)) = pair().await else { return };
    let store = store(replica.connection().await);
    assert_eq!(set_new(&store, "a").await, Err(MarkError::ReadOnly));
    let report = store.check().await;
    assert_eq!((report.marks, report.is_replica), (Err(MarkError::ReadOnly), Some(true)));
    drop(primary);
}

#[tokio::test]
async fn mark_that_too_few_replicas_have_is_an_error() {
    let Some((primary, mut replica)) = pair().await else { return };
    let connection = primary.connection().await;
    let one = store(connection.clone()).wait_for_replicas(1, LONG);
    assert_eq!(set_new(&one, "a").await, FIRST);
    let mut at_replica = replica.connection().await;
    assert_eq!(mark_keys(&mut at_replica).await.len(), 1, "the replica has it");
    assert_eq!(one.check().await.problems(), Vec::<&str>::new());

    let two = store(connection).wait_for_replicas(2, Duration::from_millis(1));
    assert_eq!(set_new(&two, "b").await, Err(MarkError::TooFewReplicas));
    assert_eq!(set_new(&two, "b").await, REPLAYED, "the primary has it");
    let report = two.check().await;
    assert_eq!((report.marks, report.replicas), (Err(MarkError::TooFewReplicas), Some(1)));

    replica.kill();
    let one = one.wait_for_replicas(1, Duration::from_millis(1));
    assert_eq!(set_new(&one, "c").await, Err(MarkError::TooFewReplicas));
}

/// The replica has the mark, so it is good for nothing when it becomes the primary.
#[tokio::test]
async fn promoted_replica_knows_the_marks() {
    let Some((mut primary, replica)) = pair().await else { return };
    let before = store(primary.connection().await).wait_for_replicas(1, LONG);
    assert_eq!(set_new(&before, "a").await, FIRST);
    primary.kill();
    let mut connection = replica.connection().await;
    send(&mut connection, "REPLICAOF NO ONE").await;
    let after = store(connection);
    assert_eq!(set_new(&after, "a").await, REPLAYED);
    assert_eq!(set_new(&after, "b").await, FIRST);
}
