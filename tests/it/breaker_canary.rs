//! The circuit breaker that is judged by canaries.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, advance, sleep};
use tower_introspect::{
    ErrorKind, VerifyError,
    upstream::{CircuitBreaker, CircuitBreakerLayer},
    verify::{BreakerState, Verifier},
};
use tower_layer::Layer;

use crate::scripted::{Act, Scripted, at_once, token};

const SECOND: Duration = Duration::from_secs(1);

/// A breaker around a server that answers clients and canaries by scripts of their own.
struct Breaker {
    clients: Scripted,
    canary: Scripted,
    sent_at: Arc<Mutex<Vec<Instant>>>,
    breaker: CircuitBreaker<Scripted>,
}

impl Breaker {
    fn new() -> Self {
        Self::with(Scripted::new())
    }

    fn with(canary: Scripted) -> Self {
        let clients = Scripted::new();
        let sent_at = Arc::<Mutex<Vec<Instant>>>::default();
        let (server, sent) = (canary.clone(), Arc::clone(&sent_at));
        let breaker = CircuitBreakerLayer::new()
            .clock(clients.clock.clone())
            .seed(7)
            .canary(move || {
                sent.lock().unwrap().push(Instant::now());
                server.verify(token("own"))
            })
            .layer(clients.clone());
        Self { clients, canary, sent_at, breaker }
    }

    /// A client asks. Returns the reason of the refusal, if it is refused.
    fn ask(&self) -> Option<VerifyError> {
        at_once(&self.breaker, token("client")).err()
    }

    fn is_open(&self) -> bool {
        self.breaker.stats().breaker == BreakerState::Open
    }

    /// The server fails, and a client notices it. Returns once the breaker is open.
    async fn open(&self) {
        self.clients.always(down());
        self.canary.always(down());
        assert!(self.ask().is_some());
        sleep(SECOND * 2).await;
        assert!(self.is_open());
    }

    /// The times between canaries, rounded to milliseconds.
    fn between(&self) -> Vec<Duration> {
        let sent_at = self.sent_at.lock().unwrap();
        let pauses = sent_at.windows(2).map(|pair| pair[1] - pair[0]);
        pauses.map(|pause| Duration::from_millis(pause.as_millis() as u64)).collect()
    }
}

fn down() -> Act {
    Act::refuse(ErrorKind::Unavailable)
}

fn overloaded() -> Act {
    Act::Refuse(VerifyError::new(ErrorKind::Unavailable).with_retry_after(SECOND * 3_600))
}

/// Lets tasks run, without time that passes.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_clients_do_not_open_it_while_the_canary_is_answered() {
    for answer in [Act::alice(), Act::refuse(ErrorKind::Inactive)] {
        for failure in [
            down(),
            overloaded(),
            Act::refuse(ErrorKind::BadResponse),
            Act::refuse(ErrorKind::CredentialsRejected),
        ] {
            let breaker = Breaker::new();
            breaker.canary.always(answer.clone());
            breaker.clients.always(failure);
            for _ in 0..5 {
                assert!(breaker.ask().is_some());
            }
            for _ in 0..100 {
                assert!(breaker.ask().is_some());
                sleep(SECOND / 10).await;
            }
            assert_eq!(breaker.clients.calls(), 105, "none was refused by the breaker");
            breaker.clients.always(Act::alice());
            assert!(breaker.ask().is_none() && !breaker.is_open());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_canaries_in_a_row_that_fail_a_second_apart_open_it() {
    for failure in [
        down(),
        Act::refuse(ErrorKind::BadResponse),
        Act::refuse(ErrorKind::CredentialsRejected),
        Act::Hang,
    ] {
        let breaker = Breaker::new();
        breaker.clients.always(down());
        breaker.canary.always(failure);
        assert!(breaker.ask().is_some());
        let start = Instant::now();
        while !breaker.is_open() {
            assert_eq!(breaker.ask().unwrap().context(), None);
            sleep(SECOND / 10).await;
            assert!(start.elapsed() < SECOND * 30, "it never opens");
        }
        assert_eq!(breaker.canary.calls(), 2);
        assert!(breaker.between()[0] >= SECOND, "{:?}", breaker.between());
        let asked = breaker.clients.calls();
        let refused = breaker.ask().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.retry_after().is_some_and(|wait| SECOND <= wait && wait <= SECOND * 6));
        assert_eq!(breaker.clients.calls(), asked);
        assert_eq!(breaker.breaker.stats().canaries, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn canary_that_fails_once_does_not_open_it() {
    let breaker = Breaker::new();
    breaker.clients.always(down());
    for _ in 0..20 {
        breaker.canary.once(down());
        breaker.canary.once(Act::refuse(ErrorKind::Inactive));
        assert!(breaker.ask().is_some());
        sleep(SECOND * 3).await;
        assert!(!breaker.is_open());
    }
    assert_eq!(breaker.canary.calls(), 40);
}

/// Another client may use up the quota of this service.
#[tokio::test(start_paused = true)]
async fn overload_neither_opens_nor_closes_it() {
    let breaker = Breaker::new();
    breaker.canary.always(overloaded());
    breaker.clients.always(down());
    for _ in 0..100 {
        assert!(breaker.ask().is_some());
        sleep(SECOND / 3).await;
    }
    assert!(!breaker.is_open());

    let breaker = Breaker::new();
    breaker.open().await;
    breaker.canary.always(overloaded());
    sleep(SECOND * 60).await;
    assert!(breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn canary_that_errs_does_not_open_it_while_clients_are_served() {
    let breaker = Breaker::new();
    breaker.canary.always(down());
    for _ in 0..100 {
        breaker.clients.once(down());
        assert!(breaker.ask().is_some());
        sleep(SECOND / 4).await;
        assert!(breaker.ask().is_none());
        sleep(SECOND / 4).await;
        assert!(!breaker.is_open());
    }
    // An answer that a token is inactive is no such proof: anyone can have it.
    breaker.clients.always(Act::refuse(ErrorKind::Inactive));
    breaker.clients.once(down());
    for _ in 0..100 {
        assert!(breaker.ask().is_some());
        sleep(SECOND / 4).await;
        if breaker.is_open() {
            return;
        }
    }
    panic!("it never opens");
}

#[tokio::test(start_paused = true)]
async fn it_closes_when_a_canary_is_answered() {
    let breaker = Breaker::new();
    breaker.open().await;
    breaker.canary.always(Act::refuse(ErrorKind::Inactive));
    let start = Instant::now();
    // No client asks meanwhile.
    while breaker.is_open() {
        sleep(SECOND / 10).await;
        assert!(start.elapsed() <= SECOND * 6, "it never closes");
    }
    breaker.clients.always(Act::alice());
    assert!(breaker.ask().is_none());
    let sent = breaker.canary.calls();
    sleep(SECOND * 3_600).await;
    assert_eq!(breaker.canary.calls(), sent, "no more are sent");
}

/// A canary that errs for good does not keep it open.
#[tokio::test(start_paused = true)]
async fn while_open_one_verification_a_second_passes_and_its_answer_closes_it() {
    let breaker = Breaker::new();
    breaker.open().await;
    let asked = breaker.clients.calls();
    for _ in 0..200 {
        assert!(breaker.ask().is_some());
        sleep(SECOND / 20).await;
    }
    assert!(breaker.is_open());
    let trials = breaker.clients.calls() - asked;
    assert!((9..=11).contains(&trials), "{trials} in 10 s");

    sleep(SECOND).await;
    breaker.clients.always(Act::alice());
    assert!(breaker.ask().is_none());
    assert!(!breaker.is_open());

    // The next outage is noticed as fast as the first.
    breaker.open().await;
}

#[tokio::test(start_paused = true)]
async fn answer_to_a_verification_that_began_before_the_opening_does_not_close_it() {
    let breaker = Breaker::new();
    let slow = breaker.clients.clone().takes(SECOND * 3);
    let early = tokio::spawn(breaker.breaker.verify(token("client")));
    sleep(SECOND).await;
    slow.always(down());
    breaker.canary.always(down());
    let late = tokio::spawn(breaker.breaker.verify(token("client")));
    assert!(early.await.unwrap().is_ok());
    slow.always(Act::alice());
    let old: Vec<_> =
        (0..3).map(|_| tokio::spawn(breaker.breaker.verify(token("client")))).collect();
    assert!(late.await.unwrap().is_err());
    sleep(SECOND * 3 / 2).await;
    assert!(breaker.is_open());
    for old in old {
        assert!(old.await.unwrap().is_ok());
        assert!(breaker.is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn one_canary_at_a_time_and_at_most_one_a_second_is_sent() {
    let breaker = Breaker::new();
    breaker.clients.always(down());
    breaker.canary.always(Act::refuse(ErrorKind::Inactive));
    for _ in 0..1_000 {
        assert!(breaker.ask().is_some());
        sleep(SECOND / 100).await;
    }
    assert!((9..=11).contains(&breaker.canary.calls()), "{}", breaker.canary.calls());
    assert!(breaker.between().iter().all(|pause| *pause >= SECOND), "{:?}", breaker.between());

    // While they fail, they come after the pause of some five seconds.
    let breaker = Breaker::new();
    breaker.open().await;
    for _ in 0..600 {
        assert!(breaker.ask().is_some());
        sleep(SECOND / 10).await;
    }
    let later = &breaker.between()[1..];
    assert!(later.len() >= 9, "{later:?}");
    assert!(later.iter().all(|pause| *pause >= SECOND * 4), "{later:?}");

    // One that takes long is the only one.
    let breaker = Breaker::with(Scripted::new().takes(SECOND * 8));
    breaker.clients.always(down());
    for _ in 0..70 {
        assert!(breaker.ask().is_some());
        assert!(breaker.canary.under_way() <= 1);
        sleep(SECOND / 10).await;
    }
    assert_eq!(breaker.canary.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn canary_that_panics_proves_nothing() {
    let breaker = Breaker::new();
    breaker.clients.always(down());
    breaker.canary.always(Act::Panic);
    for _ in 0..50 {
        assert!(breaker.ask().is_some());
        sleep(SECOND / 10).await;
    }
    assert!(!breaker.is_open());
    assert!((4..=6).contains(&breaker.canary.calls()), "{}", breaker.canary.calls());
    breaker.open().await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn runtime_that_ends_does_not_end_the_canaries() {
    let breaker = runtime().block_on(async { Breaker::new() });
    let first = runtime();
    first.block_on(async {
        breaker.clients.always(down());
        breaker.canary.always(Act::Hang);
        assert!(breaker.ask().is_some());
        settle().await;
    });
    assert_eq!(breaker.canary.calls(), 1);
    drop(first);
    assert_eq!(breaker.canary.under_way(), 0);

    // Another sends them, and one that ends while the breaker is open does not leave it so.
    let second = runtime();
    second.block_on(async {
        advance(SECOND).await;
        breaker.open().await;
    });
    drop(second);
    breaker.canary.always(Act::alice());
    runtime().block_on(async {
        advance(SECOND * 5).await;
        assert!(breaker.ask().is_some(), "the trial fails");
        assert!(breaker.is_open());
        settle().await;
        assert!(!breaker.is_open());
    });
}

#[test]
fn runtime_that_stands_still_does_not_stop_the_canaries() {
    let breaker = runtime().block_on(async { Breaker::new() });
    let first = runtime();
    first.block_on(async {
        breaker.clients.always(down());
        breaker.canary.always(Act::Hang);
        assert!(breaker.ask().is_some());
        settle().await;
    });
    runtime().block_on(async {
        advance(SECOND * 60).await;
        assert!(breaker.ask().is_some());
        settle().await;
        assert_eq!(breaker.canary.calls(), 1, "it may be under way");
        advance(SECOND * 20).await;
        breaker.open().await;
    });
    drop(first);
    assert!(breaker.is_open(), "the first takes nothing away from the second");
}

#[test]
fn without_a_runtime_it_does_not_open() {
    let breaker = runtime().block_on(async { Breaker::new() });
    breaker.clients.always(down());
    for _ in 0..100 {
        assert!(breaker.ask().is_some());
    }
    assert_eq!((breaker.clients.calls(), breaker.canary.calls()), (100, 0));
    assert!(!breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn breaker_says_whether_it_has_a_canary() {
    let breaker = Breaker::new();
    assert!(format!("{:?}", breaker.breaker).contains("has_canary: true"));
    let without = CircuitBreakerLayer::new();
    assert!(format!("{without:?}").contains("canary: None"));
    assert!(format!("{:?}", without.layer(Scripted::new())).contains("has_canary: false"));
}
