//! An authorization server with periodic outages, with each period from ten milliseconds to ten
//! seconds and each kind of failure.
//!
//! Requests get 503 and never 401, and only during an outage or while the circuit breaker is open.
//! The server gets few requests during an outage, and is used again soon after it has ended.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use http::StatusCode;
use tokio::time::{Instant, sleep};
use tower_introspect::test_util::{Endpoint, Fault};

use crate::world::{World, remote};

/// The shortest duration of a simulation.
const MIN_DURATION: Duration = Duration::from_secs(12);

/// The shortest pause between introspections while the circuit breaker is open, and the longest
/// pause between random tokens, by which it closes where no known token is presented.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Outages of half this period end before a request whose connection was closed is sent once more.
const BRIDGED: Duration = Duration::from_millis(20);

/// The number of failures until the breaker is open: until five connections or two random tokens have
/// failed.
const FAILURES_TO_OPEN: u128 = 10;

/// The kinds of failure.
fn faults() -> [Fault; 3] {
    [
        Fault::unreachable(),
        Fault::status(StatusCode::BAD_GATEWAY),
        Fault::close().with_delay(Duration::from_millis(3)),
    ]
}

/// Periods from ten milliseconds to ten seconds, each a quarter longer than the one before.
fn periods() -> impl Iterator<Item = Duration> {
    let next = |period: &Duration| Some(*period * 5 / 4);
    let all = std::iter::successors(Some(Duration::from_millis(10)), next);
    all.take_while(|period| *period < Duration::from_secs(10)).chain([Duration::from_secs(10)])
}

/// The outages so far, and whether the simulation has ended.
#[derive(Default)]
struct Log(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    away: Vec<(Instant, Option<Instant>)>,
    is_finished: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap()
    }

    fn had_outage(&self, from: Instant, until: Instant) -> bool {
        let overlaps = |(left, back): &(Instant, Option<Instant>)| {
            *left <= until && back.is_none_or(|back| back >= from)
        };
        self.lock().away.iter().any(overlaps)
    }
}

/// Starts and ends outages, and checks the number of requests that arrive during each.
async fn simulate_outages(world: &World, log: &Log, fault: &Fault, period: Duration) {
    let end = Instant::now() + MIN_DURATION.max(period * 4);
    while Instant::now() < end {
        let (asked, left) = (world.asked(), Instant::now());
        world.server.inject(Endpoint::Introspection, fault.clone());
        log.lock().away.push((left, None));
        sleep(period / 2).await;
        world.server.clear(Endpoint::Introspection);
        if let Some((_, back)) = log.lock().away.last_mut() {
            *back = Some(Instant::now());
        }
        // The failures that open the breaker, and one after each pause. A request whose connection
        // is closed is sent once more.
        let pauses = left.elapsed().as_millis().div_ceil(MIN_PAUSE.as_millis());
        let asked = world.asked() - asked;
        assert!(
            asked as u128 <= 2 * (FAILURES_TO_OPEN + pauses),
            "{asked} introspections in {:?}",
            period / 2
        );
        sleep(period / 2).await;
    }
    log.lock().is_finished = true;
}

/// Sends requests with new tokens, and checks each response against the outages. Returns how many
/// were admitted, how many met an outage, and how many the breaker refused.
async fn send_requests(world: &World, log: &Log, every: Duration) -> [usize; 3] {
    let mut counts = [0; 3];
    while !log.lock().is_finished {
        let (arrived, asked) = (Instant::now(), world.asked());
        let broken = world.api.stats().broken;
        let response = world.present(&world.opaque()).await;
        let is_refused_by_breaker = world.api.stats().broken > broken;
        counts[match response.status().as_u16() {
            200 => 0,
            503 if is_refused_by_breaker => {
                assert_eq!(world.asked(), asked, "the open breaker sends no request");
                let wait = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=MAX_PAUSE.as_secs()).contains(&wait), "retry after {wait} s");
                2
            }
            // The outage ended before a random token was sent, so the token seems to be at fault.
            502 | 503 => {
                assert!(log.had_outage(arrived, Instant::now()), "there was no outage");
                1
            }
            status => panic!("{status} blames the client"),
        }] += 1;
        sleep(every).await;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn intermittent_outages_give_503_cause_few_requests_and_end_with_recovery() {
    for fault in faults() {
        let mut admitted_in_all = 0;
        for period in periods() {
            let world = World::new(remote());
            // The server has answered about this token and about a random one.
            assert_eq!(world.status(&world.opaque()).await, 200);
            sleep(Duration::from_secs(1)).await;
            let log = Log::default();
            // Requests are sent at different moments of the period.
            let every = (period / 7).clamp(Duration::from_millis(17), Duration::from_millis(190));
            let (counts, ()) = tokio::join!(
                send_requests(&world, &log, every),
                simulate_outages(&world, &log, &fault, period)
            );
            let [admitted, refused, _] = counts;
            admitted_in_all += admitted;
            let is_tried = refused > 0 || period <= BRIDGED;
            assert!(is_tried, "{counts:?} prove too little, {fault:?} {period:?}");

            // The last outage has ended.
            let back = Instant::now();
            while world.status(&world.opaque()).await != 200 {
                sleep(Duration::from_millis(50)).await;
            }
            assert!(back.elapsed() <= MAX_PAUSE, "{:?} {fault:?} {period:?}", back.elapsed());
            for _ in 0..10 {
                assert_eq!(world.status(&world.opaque()).await, 200);
            }
        }
        assert!(admitted_in_all > 100, "{admitted_in_all} prove too little, {fault:?}");
    }
}

/// The time that passes bounds the requests to the server. The number of incoming requests does not
/// matter.
#[tokio::test(start_paused = true)]
async fn outage_from_the_start_causes_a_bounded_number_of_introspections() {
    for fault in faults() {
        let world = World::new(remote());
        world.api.warm().await.unwrap();
        world.server.inject(Endpoint::Introspection, fault.clone());
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            assert_eq!(world.status(&world.opaque()).await, 503);
            sleep(Duration::from_millis(20)).await;
        }
        let asked = world.asked();
        // Ten a second, as the server has never answered, and those of the first second. A closed
        // connection counts twice.
        assert!((15..=2 * 700).contains(&asked), "{asked} introspections, {fault:?}");
    }
}

/// A cached token is admitted at once. Requests with other tokens wait for the server, which does
/// not respond, and get 503 after the timeout.
#[tokio::test(start_paused = true)]
async fn cached_token_is_admitted_at_once_while_the_server_hangs() {
    let world = World::new(remote());
    let cached = world.opaque();
    assert_eq!(world.status(&cached).await, 200);
    world.server.inject(Endpoint::Introspection, Fault::hang());
    let started = Instant::now();
    let new = async {
        assert_eq!(world.status(&world.opaque()).await, 503);
        started.elapsed()
    };
    let old = async {
        world.server.wait_for_calls(Endpoint::Introspection, 2).await;
        assert_eq!(world.status(&cached).await, 200);
        started.elapsed()
    };
    let waited = tokio::join!(new, old);
    // The timeout, and the rest of that of a random token, which shows whose fault it is.
    assert_eq!(waited, (Duration::from_secs(4), Duration::ZERO));
}
