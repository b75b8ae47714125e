//! Concurrent requests with one token share one verification.

use std::{error::Error, time::Duration};

use futures_util::{FutureExt, future::join_all};
use tokio::time::{advance, sleep};
use tower_introspect::{
    ErrorKind, VerifyError,
    upstream::{Coalesce, CoalesceLayer},
    verify::{Freshness, Outcome, Verifier},
};
use tower_layer::Layer;

use crate::scripted::{Act, Scripted, at_once, kind, token};

const SEC: Duration = Duration::from_secs(1);

fn coalesce(server: &Scripted) -> Coalesce<Scripted> {
    CoalesceLayer::new().clock(server.clock.clone()).layer(server.clone())
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_share_one_verification() {
    let server = Scripted::new().takes(SEC);
    let coalesce = coalesce(&server);
    let outcomes = join_all((0..200).map(|_| coalesce.verify(token("abc")))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!((server.calls(), coalesce.stats().coalesced), (1, 199));
    assert_eq!(coalesce.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn different_tokens_share_no_verification() {
    let server = Scripted::new().takes(SEC);
    let coalesce = coalesce(&server);
    let names: Vec<_> = (0..100).map(|n| format!("token-{n}")).collect();
    join_all(names.iter().map(|name| coalesce.verify(token(name)))).await;
    assert_eq!(server.calls(), 100);
}

#[tokio::test(start_paused = true)]
async fn dropped_leader_causes_no_second_call() {
    for polls in 0..3 {
        let server = Scripted::new().takes(SEC);
        let coalesce = coalesce(&server);
        let mut leader = Box::pin(coalesce.verify(token("abc")));
        let mut waiter = Box::pin(coalesce.verify(token("abc")));
        for _ in 0..polls {
            assert!((&mut leader).now_or_never().is_none());
            assert!((&mut waiter).now_or_never().is_none());
        }
        drop(leader);
        assert!(waiter.await.is_ok(), "{polls}");
        assert_eq!(server.calls(), 1, "{polls}");
        assert_eq!((coalesce.under_way(), server.under_way()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn leader_dropped_late_leaves_the_result_to_followers_not_yet_polled() {
    let server = Scripted::new().takes(SEC);
    let coalesce = coalesce(&server);
    let mut leader = Box::pin(coalesce.verify(token("abc")));
    let waiter = coalesce.verify(token("abc"));
    assert!((&mut leader).now_or_never().is_none());
    advance(SEC * 2).await;
    drop(leader);
    assert!(waiter.await.is_ok());
    assert_eq!(server.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn verification_that_all_requests_have_left_ends_by_itself_and_can_be_joined() {
    let server = Scripted::new().takes(SEC);
    let coalesce = coalesce(&server);
    let all: Vec<_> = (0..5).map(|_| coalesce.verify(token("abc"))).collect();
    tokio::task::yield_now().await;
    drop(all);
    advance(SEC / 2).await;
    assert_eq!((server.under_way(), coalesce.under_way()), (1, 1));
    assert!(coalesce.verify(token("abc")).await.is_ok());
    assert_eq!((server.under_way(), coalesce.under_way()), (0, 0));
    assert_eq!(server.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn verification_that_all_requests_left_before_it_began_does_not_take_place() {
    let server = Scripted::new().takes(SEC);
    let coalesce = coalesce(&server);
    drop((0..5).map(|_| coalesce.verify(token("abc"))).collect::<Vec<_>>());
    tokio::task::yield_now().await;
    assert_eq!((server.under_way(), coalesce.under_way()), (0, 0));
    // One that came in between does not share its end.
    drop(coalesce.verify(token("abc")));
    assert!(coalesce.verify(token("abc")).await.is_ok());
}

#[test]
fn runtime_that_ends_wakes_the_requests_of_another() {
    let server = Scripted::new().takes(SEC);
    let coalesce = coalesce(&server);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let started = {
        let _inside = first.enter();
        coalesce.verify(token("abc"))
    };
    let joined = coalesce.verify(token("abc"));
    drop(first);
    for waiting in [started, joined] {
        assert_eq!(kind(&second.block_on(waiting)), Some(ErrorKind::Unavailable));
    }
    assert_eq!(coalesce.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn error_is_returned_to_all_waiting_requests_only() {
    let server = Scripted::new().takes(SEC);
    server.once(Act::Refuse(VerifyError::new(ErrorKind::Unavailable).with_source("the cause")));
    let coalesce = coalesce(&server);
    let outcomes = join_all((0..5).map(|_| coalesce.verify(token("abc")))).await;
    let cause = |outcome: &Outcome| {
        let error = outcome.as_ref().unwrap_err();
        std::ptr::from_ref(error.source().unwrap()).addr()
    };
    assert!(outcomes.iter().all(|outcome| cause(outcome) == cause(&outcomes[0])));
    assert_eq!(server.calls(), 1);
    assert!(coalesce.verify(token("abc")).await.is_ok());
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn live_requests_share_one_verification_that_starts_after_they_came() {
    let server = Scripted::new().takes(SEC);
    let coalesce = coalesce(&server);
    let live = || token("abc").with_freshness(Freshness::Live);
    let earlier = tokio::spawn(coalesce.verify(token("abc")));
    sleep(SEC / 2).await;
    let start = tokio::time::Instant::now();
    let all = join_all((0..1_000).map(|_| coalesce.verify(live()))).await;
    assert_eq!(start.elapsed(), SEC + SEC / 2, "half of the earlier one, and one");
    assert!(all.iter().all(Result::is_ok) && earlier.await.unwrap().is_ok());
    assert_eq!(server.calls(), 2);
    assert_eq!(coalesce.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn cached_request_joins_a_live_verification() {
    let server = Scripted::new().takes(SEC);
    let coalesce = coalesce(&server);
    let live = coalesce.verify(token("abc").with_freshness(Freshness::Live));
    let (live, cached) = tokio::join!(live, coalesce.verify(token("abc")));
    assert!(live.is_ok() && cached.is_ok());
    assert_eq!(server.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn request_with_maximum_age_joins_only_a_recent_verification() {
    for (age, calls) in [(SEC / 4, 2), (SEC / 2, 1), (SEC, 1)] {
        let server = Scripted::new().takes(SEC);
        let coalesce = coalesce(&server);
        let first = tokio::spawn(coalesce.verify(token("abc")));
        sleep(SEC / 2).await;
        let arrived = server.clock.clone();
        let now = tower_introspect::clock::Moment::now(&arrived);
        let within = token("abc").with_freshness(Freshness::Within(age));
        let active = coalesce.verify(within).await.unwrap();
        assert!(now.since(active.verified_at()) <= age);
        assert!(first.await.unwrap().is_ok());
        assert_eq!(server.calls(), calls, "{age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn joined_result_that_is_too_old_is_verified_again() {
    // The inner verifier caches, and the first request accepts a cached result.
    #[derive(Clone)]
    struct CachingVerifier(Scripted, std::sync::Arc<std::sync::Mutex<Option<Outcome>>>);

    impl Verifier for CachingVerifier {
        type Future = <Scripted as Verifier>::Future;

        fn verify(
            &self,
            request: tower_introspect::verify::VerifyRequest,
        ) -> tower_introspect::verify::Verifying<Self::Future> {
            let fresh = self.0.verify(request.clone());
            if request.freshness() != Freshness::Cached {
                return fresh;
            }
            let memory = self.1.clone();
            fresh.map_future(|fresh| {
                let cached = async move {
                    let fresh = fresh.await;
                    memory.lock().unwrap().get_or_insert(fresh).clone()
                };
                Box::pin(cached) as Self::Future
            })
        }
    }

    let server = Scripted::new().takes(SEC);
    let memory = CachingVerifier(server.clone(), std::sync::Arc::default());
    let coalesce = CoalesceLayer::new().clock(server.clock.clone()).layer(memory);
    assert!(coalesce.verify(token("abc")).await.is_ok());
    sleep(SEC * 60).await;
    let now = tower_introspect::clock::Moment::now(&server.clock);
    let within = token("abc").with_freshness(Freshness::Within(SEC * 10));
    let (old, recent) = tokio::join!(coalesce.verify(token("abc")), coalesce.verify(within));
    assert!(now.since(old.unwrap().verified_at()) > SEC * 10);
    assert!(now.since(recent.unwrap().verified_at()) <= SEC * 10);
}

#[tokio::test(start_paused = true)]
async fn verification_that_never_ends_is_given_up_after_half_a_minute() {
    let server = Scripted::new();
    server.once(Act::Hang);
    let coalesce = coalesce(&server);
    let stuck = tokio::spawn(coalesce.verify(token("abc")));
    sleep(SEC * 31).await;
    assert_eq!(kind(&stuck.await.unwrap()), Some(ErrorKind::Unavailable));
    assert!(coalesce.verify(token("abc")).await.is_ok());
    assert_eq!((coalesce.under_way(), server.under_way()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn panic_is_an_error_for_all_and_the_next_verification_succeeds() {
    let server = Scripted::new().takes(SEC);
    server.once(Act::Panic);
    let coalesce = coalesce(&server);
    for outcome in join_all((0..5).map(|_| coalesce.verify(token("abc")))).await {
        assert_eq!(kind(&outcome), Some(ErrorKind::Unavailable));
    }
    assert_eq!((server.calls(), coalesce.under_way(), server.under_way()), (1, 0, 0));
    assert!(coalesce.verify(token("abc")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn result_ready_at_once_is_not_shared() {
    let server = Scripted::new();
    let coalesce = coalesce(&server);
    for calls in 1..=3 {
        assert!(at_once(&coalesce, token("abc")).is_ok());
        assert_eq!((server.calls(), coalesce.under_way()), (calls, 0));
    }
}

#[tokio::test]
async fn verification_is_shared_between_threads() {
    let server = Scripted::new().takes(Duration::from_millis(1));
    let coalesce = coalesce(&server);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    for round in 0..50 {
        let name = format!("token-{round}");
        let gate = std::sync::Arc::new(tokio::sync::Barrier::new(8));
        let all: Vec<_> = (0..8)
            .map(|at| {
                let (coalesce, gate, request) = (coalesce.clone(), gate.clone(), token(&name));
                runtime.spawn(async move {
                    gate.wait().await;
                    let verifying = coalesce.verify(request);
                    // Some of the clients disconnect.
                    if at % 3 == 0 {
                        return verifying
                            .now_or_never()
                            .unwrap_or_else(|| Err(ErrorKind::Denied.into()));
                    }
                    verifying.await
                })
            })
            .collect();
        for (at, one) in all.into_iter().enumerate() {
            let outcome = one.await.unwrap();
            assert!(at % 3 == 0 || outcome.is_ok(), "{outcome:?}");
        }
    }
    assert_eq!((coalesce.under_way(), server.under_way()), (0, 0));
    runtime.shutdown_background();
}
