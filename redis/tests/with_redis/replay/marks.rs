//! Proofs are good once for all instances that share a Redis.

use std::time::Duration;

use tower_introspect::{
    clock::{Moment, SystemClock},
    proof::Mark,
};

use super::{
    FIRST, LIFE, MarkError, REPLAYED, Server, mark, mark_for, mark_keys, send, set, set_new,
    since_keys, store,
};

#[tokio::test]
async fn rfc9449_11_1_proof_is_marked_once_by_all_who_share_a_redis() {
    let Some(server) = Server::settled(&[]).await else { return };
    let (one, other) = (store(server.connection().await), store(server.manager("")));
    assert_eq!(set_new(&one, "a").await, FIRST);
    assert_eq!(set_new(&one, "a").await, REPLAYED);
    assert_eq!(set_new(&other, "a").await, REPLAYED);
    assert_eq!(set_new(&other, "b").await, FIRST);
    assert_eq!(set_new(&one, "b").await, REPLAYED);
    let now = Moment::now(&SystemClock);
    let of_another_key = Mark::new("other", "a", now, now.wall().saturating_add(LIFE));
    assert_eq!(set(&one, of_another_key).await, FIRST);
    let with_prefix = store(server.connection().await).prefix("other:").danger_accept_losses();
    assert_eq!(set_new(&with_prefix, "a").await, FIRST);
}

#[tokio::test]
async fn one_of_a_hundred_concurrent_requests_is_first() {
    let Some(server) = Server::settled(&[]).await else { return };
    let (one, other) = (store(server.connection().await), store(server.connection().await));
    for round in 0..20 {
        let proof = mark(&format!("{round}"));
        let all = (0..100).map(|n| {
            let (store, proof) = (if n % 2 == 0 { &one } else { &other }, proof.clone());
            async move { set(store, proof).await }
        });
        let outcomes = futures_util::future::join_all(all).await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == FIRST).count(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == REPLAYED).count(), 99);
    }
}

#[tokio::test]
async fn mark_expires_by_itself_after_the_proof_and_the_difference_of_clocks() {
    let Some(server) = Server::settled(&[]).await else { return };
    let mut connection = server.connection().await;
    let store = store(connection.clone()).max_clock_difference(Duration::from_secs(7));
    let _ = set(&store, mark("a")).await;
    let keys = mark_keys(&mut connection).await;
    let [key] = &keys[..] else { panic!("{keys:?}") };
    assert!(key.starts_with("tower-introspect:dpop:{"), "{key}");
    let left: u64 = redis::cmd("PTTL").arg(key).query_async(&mut connection).await.unwrap();
    assert!((60_001..=67_000).contains(&left), "{left}");
    // Neither the client nor the name of the proof is stored.
    assert!(!format!("{keys:?}").contains("client"));
}

#[tokio::test]
async fn mark_whose_time_is_past_is_answered() {
    let Some(server) = Server::settled(&[]).await else { return };
    let store = store(server.connection().await).danger_accept_losses();
    assert_eq!(set(&store, mark_for("a", Duration::ZERO)).await, FIRST);
}

#[tokio::test]
async fn proof_that_is_good_for_too_long_is_refused() {
    let Some(server) = Server::settled(&[]).await else { return };
    let store = store(server.connection().await);
    let long = mark_for("a", LIFE + Duration::from_secs(1));
    assert_eq!(set(&store, long).await, Err(MarkError::TooLong));
    assert_eq!(set_new(&store, "a").await, FIRST, "it was not marked");
}

#[tokio::test]
async fn entry_that_is_no_mark_is_never_an_admission() {
    let Some(server) = Server::settled(&[]).await else { return };
    let mut connection = server.connection().await;
    let store = store(connection.clone());
    assert_eq!(set_new(&store, "a").await, FIRST);
    for (write, outcome) in
        [("SET {} garbage", REPLAYED), ("RPUSH {} garbage", Err(MarkError::UnexpectedResponse))]
    {
        let keys = mark_keys(&mut connection).await;
        let key = keys.first().expect("the mark");
        send(&mut connection, &format!("DEL {key}")).await;
        send(&mut connection, &write.replace("{}", key)).await;
        assert_eq!(set_new(&store, "a").await, outcome, "{write}");
    }
    for key in since_keys(&mut connection).await {
        send(&mut connection, &format!("SET {key} garbage")).await;
    }
    assert_eq!(set_new(&store, "b").await, Err(MarkError::UnexpectedResponse));
}
