//! More requests than Redis answers.

use std::time::Duration;

use tower_introspect::proof::{Marked, ReplayStore as _};

use super::{FIRST, MarkError, Server, mark, set_new, store};

/// The memory and the commands in flight are bounded by the limit, whatever the number of requests.
#[tokio::test]
async fn ten_thousand_requests_while_redis_hangs_are_refused_at_once() {
    let Some(server) = Server::settled(&[]).await else { return };
    let store =
        store(server.connection().await).timeout(Duration::from_millis(20)).max_in_flight(100);
    let patient = store.clone().timeout(super::LONG);
    assert_eq!(set_new(&patient, "before").await, FIRST);
    let stopped = server.stop();
    let all = (0..10_000).map(|n| {
        let store = &store;
        async move { set_new(store, &n.to_string()).await }
    });
    let outcomes = futures_util::future::join_all(all).await;
    let count = |of: MarkError| outcomes.iter().filter(|outcome| **outcome == Err(of)).count();
    assert_eq!((count(MarkError::Timeout), count(MarkError::Busy)), (100, 9_900));
    // Those that nobody waits for any more count as well.
    assert_eq!(set_new(&store, "more").await, Err(MarkError::Busy));
    drop(stopped);
    let recovers = async {
        while set_new(&patient, "after").await == Err(MarkError::Busy) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(testing::host::PATIENCE, recovers).await.expect("it does not recover");
    assert_eq!(set_new(&patient, "later").await, FIRST);
}

#[tokio::test]
async fn request_that_is_gone_frees_no_place_before_redis_responds() {
    let Some(server) = Server::settled(&[]).await else { return };
    let store = store(server.connection().await).max_in_flight(1);
    assert_eq!(set_new(&store, "before").await, FIRST);
    let stopped = server.stop();
    let Err(mut gone) = store.mark(mark("gone")).now_or_later() else { panic!("it waits") };
    assert!(futures_util::FutureExt::now_or_never(&mut gone).is_none());
    drop(gone);
    assert_eq!(set_new(&store, "next").await, Err(MarkError::Busy));
    drop(stopped);
}

#[test]
fn store_outside_of_a_runtime_is_an_error_and_no_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(server) = runtime.block_on(Server::settled(&[])) else { return };
    let store = store(runtime.block_on(server.connection()));
    let Err(later) = store.mark(mark("a")).now_or_later() else { panic!("it waits") };
    let outcome: Result<Marked, _> = futures_util::FutureExt::now_or_never(later).expect("at once");
    assert!(outcome.unwrap_err().is::<MarkError>());
}
