//! The circuit breaker and the bulkhead.

use std::{sync::Arc, time::Duration};

use tokio::time::{advance, sleep};
use tower_introspect::{
    ErrorKind, VerifyError,
    upstream::{BulkheadLayer, CircuitBreaker, CircuitBreakerLayer},
    verify::{BreakerState, Verifier, VerifyRequest},
};
use tower_layer::Layer;

use crate::scripted::{Act, Scripted, at_once, kind, token};

const PAUSE: Duration = Duration::from_secs(5);

fn breaker(server: &Scripted) -> CircuitBreaker<Scripted> {
    CircuitBreakerLayer::new().clock(server.clock.clone()).seed(7).layer(server.clone())
}

fn ask(breaker: &CircuitBreaker<Scripted>) -> Result<(), VerifyError> {
    at_once(breaker, token("abc")).map(drop)
}

fn down() -> Act {
    Act::refuse(ErrorKind::Unavailable)
}

#[tokio::test(start_paused = true)]
async fn five_consecutive_failures_open_the_breaker_for_about_five_seconds() {
    let server = Scripted::new();
    let breaker = breaker(&server);
    server.always(down());
    for calls in 1..=5 {
        assert_eq!(breaker.stats().breaker, BreakerState::Closed);
        assert_eq!(ask(&breaker).unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(server.calls(), calls);
    }
    assert_eq!(breaker.stats().breaker, BreakerState::Open);
    let refused = ask(&breaker).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let wait = refused.retry_after().unwrap();
    assert!((PAUSE * 4 / 5..=PAUSE * 6 / 5).contains(&wait), "{wait:?}");
    assert_eq!(server.calls(), 5);

    advance(wait - Duration::from_millis(1)).await;
    assert_eq!(ask(&breaker).unwrap_err().retry_after(), Some(Duration::from_millis(1)));
    assert_eq!(server.calls(), 5);
    advance(Duration::from_millis(1)).await;
    assert_eq!(breaker.stats().breaker, BreakerState::HalfOpen);
    assert!(ask(&breaker).is_err());
    assert_eq!(server.calls(), 6, "one probe is sent");
    assert!(ask(&breaker).is_err());
    assert_eq!(server.calls(), 6, "the failed probe opened the breaker again");

    server.always(Act::alice());
    advance(PAUSE * 2).await;
    for calls in 7..10 {
        assert!(ask(&breaker).is_ok());
        assert_eq!(server.calls(), calls);
    }
    assert_eq!(breaker.stats().breaker, BreakerState::Closed);
    assert_eq!((breaker.stats().upstream_calls, breaker.stats().broken), (9, 3));
}

#[tokio::test(start_paused = true)]
async fn any_response_resets_the_count_of_failures() {
    let server = Scripted::new();
    let breaker = breaker(&server);
    for answer in [Act::alice(), Act::refuse(ErrorKind::Inactive)] {
        for _ in 0..10 {
            for _ in 0..4 {
                server.once(down());
                assert!(ask(&breaker).is_err());
            }
            server.once(answer.clone());
            assert_ne!(ask(&breaker).map_err(|error| error.kind()), Err(ErrorKind::Unavailable));
        }
    }
    assert_eq!(breaker.stats().broken, 0);
}

#[tokio::test(start_paused = true)]
async fn bad_responses_and_rejected_credentials_neither_count_nor_reset_failures() {
    let server = Scripted::new();
    let breaker = breaker(&server);
    for odd in [ErrorKind::BadResponse, ErrorKind::CredentialsRejected] {
        for _ in 0..20 {
            server.once(Act::refuse(odd));
            assert_eq!(ask(&breaker).unwrap_err().kind(), odd);
        }
    }
    assert_eq!(breaker.stats().breaker, BreakerState::Closed);
    for odd in [ErrorKind::BadResponse, ErrorKind::CredentialsRejected] {
        server.once(down());
        server.once(down());
        server.once(Act::refuse(odd));
        for _ in 0..3 {
            let _ = ask(&breaker);
        }
    }
    server.once(down());
    let _ = ask(&breaker);
    assert_eq!(breaker.stats().breaker, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn rfc9110_10_2_3_retry_after_sets_the_pause_within_bounds() {
    for (wish, pause) in [(9, 9), (300, 300), (301, 300), (86_400, 300)] {
        let server = Scripted::new();
        let breaker = breaker(&server);
        let error = VerifyError::new(ErrorKind::Unavailable);
        server.once(Act::Refuse(error.with_retry_after(Duration::from_secs(wish))));
        assert!(ask(&breaker).is_err());
        let wait = ask(&breaker).unwrap_err().retry_after();
        assert_eq!(wait, Some(Duration::from_secs(pause)), "one failure is enough");
        advance(Duration::from_secs(pause)).await;
        assert!(ask(&breaker).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn half_open_breaker_allows_one_probe_and_replaces_a_dropped_one() {
    let server = Scripted::new();
    let breaker = breaker(&server);
    server.always(down());
    for _ in 0..5 {
        let _ = ask(&breaker);
    }
    advance(PAUSE * 2).await;
    server.always(Act::Hang);
    for probes in 1..=3 {
        let Err(probe) = breaker.verify(token("abc")).now_or_later() else {
            panic!("the breaker waits")
        };
        assert_eq!(server.calls(), 5 + probes);
        for _ in 0..10 {
            assert_eq!(kind(&at_once(&breaker, token("abc"))), Some(ErrorKind::Unavailable));
        }
        assert_eq!(server.calls(), 5 + probes, "one probe at a time");
        // The client disconnects, so the next call becomes the probe.
        drop(probe);
    }
    server.always(Act::alice());
    assert!(ask(&breaker).is_ok());
    assert_eq!(breaker.stats().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn results_of_calls_started_before_a_state_change_are_ignored() {
    let server = Scripted::new().takes(Duration::from_secs(1));
    let breaker = breaker(&server);
    let late = tokio::spawn(breaker.verify(token("late")));
    sleep(Duration::from_millis(500)).await;
    server.always(down());
    let row: Vec<_> = (0..5).map(|_| tokio::spawn(breaker.verify(token("abc")))).collect();
    assert!(late.await.unwrap().is_ok());
    for failed in row {
        assert!(failed.await.unwrap().is_err());
    }
    assert_eq!(breaker.stats().breaker, BreakerState::Open);

    // A call that started before the breaker opened succeeds afterwards.
    let breaker = CircuitBreakerLayer::new().failures(1).layer(server.clone());
    server.always(Act::alice());
    let late = tokio::spawn(breaker.verify(token("late")));
    sleep(Duration::from_millis(500)).await;
    server.once(Act::Refuse(
        VerifyError::new(ErrorKind::Unavailable).with_retry_after(Duration::from_secs(60)),
    ));
    let failing = tokio::spawn(breaker.verify(token("abc")));
    sleep(Duration::from_millis(100)).await;
    assert!(late.await.unwrap().is_ok());
    assert!(failing.await.unwrap().is_err());
    assert_eq!(breaker.stats().breaker, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn pauses_of_processes_differ() {
    let pauses: Vec<_> = (0..50)
        .map(|seed| {
            let server = Scripted::new();
            server.always(down());
            let layer = CircuitBreakerLayer::new().failures(1).seed(seed);
            let breaker = layer.clock(server.clock.clone()).layer(server);
            let _ = at_once(&breaker, token("abc"));
            at_once(&breaker, token("abc")).unwrap_err().retry_after().unwrap()
        })
        .collect();
    let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    assert!(*least >= PAUSE * 4 / 5 && *most <= PAUSE * 6 / 5, "{least:?} {most:?}");
    assert!(*most - *least > PAUSE / 5, "{least:?} {most:?}");
}

#[tokio::test(start_paused = true)]
async fn breaker_recovers_after_intermittent_failures() {
    for period in [10, 100, 1_000, 3_000, 10_000].map(Duration::from_millis) {
        let server = Scripted::new();
        let breaker = breaker(&server);
        for half in 0..40 {
            server.always(if half % 2 == 0 { down() } else { Act::alice() });
            for _ in 0..10 {
                let _ = ask(&breaker);
                advance(period / 20).await;
            }
        }
        server.always(Act::alice());
        advance(PAUSE * 2).await;
        assert!(ask(&breaker).is_ok(), "{period:?}");
        assert!(ask(&breaker).is_ok(), "{period:?}");
    }
}

// ===== The bulkhead =====

#[tokio::test(start_paused = true)]
async fn full_bulkhead_refuses_at_once_and_does_not_open_the_breaker() {
    let server = Scripted::new();
    let breaker = Arc::new(breaker(&server));
    let bulkhead = BulkheadLayer::new(3).layer(Arc::clone(&breaker));
    server.always(Act::Hang);
    let verify = |request: VerifyRequest| bulkhead.verify(request).now_or_later();
    let mut inside: Vec<_> = (0..3).map(|_| verify(token("abc")).err().unwrap()).collect();
    for _ in 0..100 {
        let refused = verify(token("abc")).ok().unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.retry_after().is_some());
    }
    assert_eq!((server.calls(), bulkhead.stats().shed), (3, 100));
    assert_eq!(breaker.stats().breaker, BreakerState::Closed);

    drop(inside.pop());
    server.always(Act::alice());
    for _ in 0..10 {
        assert!(verify(token("abc")).ok().unwrap().is_ok(), "a finished call frees its permit");
    }
}
