//! An authorization server that comes and goes, with every period from ten milliseconds to ten
//! seconds, and in every way to be away.
//!
//! Answers are honest: 503, never 401, and only while it was away or is being left alone because it
//! was. It is asked little while it is away, and asked again soon after it is back.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use http::StatusCode;
use tokio::time::{Instant, sleep};
use tower_introspect::test_util::{Endpoint, Fault};

use crate::world::{World, remote};

/// For so long at least it comes and goes.
const LONG: Duration = Duration::from_secs(12);

/// The pause of the breaker, at its shortest and at its longest.
const SHORTEST: Duration = Duration::from_secs(4);
const LONGEST: Duration = Duration::from_secs(6);

/// Failures in a row that open the breaker.
const ROW: u128 = 5;

/// Ways to be away.
fn ways() -> [Fault; 3] {
    [
        Fault::unreachable(),
        Fault::status(StatusCode::BAD_GATEWAY),
        Fault::close().with_delay(Duration::from_millis(3)),
    ]
}

/// From ten milliseconds to ten seconds, each a fourth more than the one before.
fn periods() -> impl Iterator<Item = Duration> {
    let next = |period: &Duration| Some(*period * 5 / 4);
    let all = std::iter::successors(Some(Duration::from_millis(10)), next);
    all.take_while(|period| *period < Duration::from_secs(10)).chain([Duration::from_secs(10)])
}

/// When the server was away, and whether that is over.
#[derive(Default)]
struct Log(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    away: Vec<(Instant, Option<Instant>)>,
    over: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap()
    }

    fn was_away(&self, from: Instant, until: Instant) -> bool {
        let overlaps = |(left, back): &(Instant, Option<Instant>)| {
            *left <= until && back.is_none_or(|back| back >= from)
        };
        self.lock().away.iter().any(overlaps)
    }
}

/// Comes and goes, and counts what it is asked while it is away.
async fn come_and_go(world: &World, log: &Log, way: &Fault, period: Duration) {
    let end = Instant::now() + LONG.max(period * 4);
    while Instant::now() < end {
        let (asked, left) = (world.asked(), Instant::now());
        world.server.inject(Endpoint::Introspection, way.clone());
        log.lock().away.push((left, None));
        sleep(period / 2).await;
        world.server.clear(Endpoint::Introspection);
        if let Some((_, back)) = log.lock().away.last_mut() {
            *back = Some(Instant::now());
        }
        // A row of failures, and a probe after each pause. Each question may be repeated once.
        let pauses = left.elapsed().as_millis().div_ceil(SHORTEST.as_millis());
        let asked = world.asked() - asked;
        assert!(asked as u128 <= 2 * (ROW + pauses), "{asked} questions in {:?}", period / 2);
        sleep(period / 2).await;
    }
    log.lock().over = true;
}

/// Sends requests with new tokens, and holds what they are told against what was. Says how many were
/// let in, how many found the server away, and how many left it alone.
async fn visit(world: &World, log: &Log, every: Duration) -> [usize; 3] {
    let mut counts = [0; 3];
    while !log.lock().over {
        let (arrived, asked) = (Instant::now(), world.asked());
        let broken = world.api.stats().broken;
        let response = world.present(&world.opaque()).await;
        let left_alone = world.api.stats().broken > broken;
        counts[match response.status().as_u16() {
            200 => 0,
            503 if left_alone => {
                assert_eq!(world.asked(), asked, "and nobody is asked");
                let wait = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=LONGEST.as_secs()).contains(&wait), "come back in {wait} s");
                2
            }
            503 => {
                assert!(log.was_away(arrived, Instant::now()), "it was there all the while");
                1
            }
            status => panic!("{status} blames the client"),
        }] += 1;
        sleep(every).await;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_and_goes_is_answered_for_honestly_asked_little_and_found_again() {
    for way in ways() {
        for period in periods() {
            let world = World::new(remote());
            world.api.warm().await.unwrap();
            let log = Log::default();
            // Never the same moment of each period.
            let every = (period / 7).clamp(Duration::from_millis(17), Duration::from_millis(190));
            let (counts, ()) =
                tokio::join!(visit(&world, &log, every), come_and_go(&world, &log, &way, period));
            let [admitted, refused, _] = counts;
            assert!(admitted > 0 && refused > 0, "{counts:?} prove little, {way:?} {period:?}");

            // It is back for good.
            let back = Instant::now();
            while world.status(&world.opaque()).await != 200 {
                sleep(Duration::from_millis(50)).await;
            }
            assert!(back.elapsed() <= LONGEST, "{:?} {way:?} {period:?}", back.elapsed());
            for _ in 0..10 {
                assert_eq!(world.status(&world.opaque()).await, 200);
            }
        }
    }
}

/// What is let through is bounded by the time that passes, not by the requests that come.
#[tokio::test(start_paused = true)]
async fn a_minute_away_is_some_forty_questions_whatever_comes() {
    for way in ways() {
        let world = World::new(remote());
        world.api.warm().await.unwrap();
        world.server.inject(Endpoint::Introspection, way.clone());
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            assert_eq!(world.status(&world.opaque()).await, 503);
            sleep(Duration::from_millis(20)).await;
        }
        let asked = world.asked();
        assert!((15..=2 * (5 + 15)).contains(&asked), "{asked} questions, {way:?}");
    }
}

/// A token that is known is let in while others wait for a server that does not answer, and then are
/// told so in time.
#[tokio::test(start_paused = true)]
async fn a_known_token_passes_those_that_wait_for_a_server_that_hangs() {
    let world = World::new(remote());
    let known = world.opaque();
    assert_eq!(world.status(&known).await, 200);
    world.server.inject(Endpoint::Introspection, Fault::hang());
    let started = Instant::now();
    let new = async {
        assert_eq!(world.status(&world.opaque()).await, 503);
        started.elapsed()
    };
    let old = async {
        world.server.wait_for_calls(Endpoint::Introspection, 2).await;
        assert_eq!(world.status(&known).await, 200);
        started.elapsed()
    };
    let waited = tokio::join!(new, old);
    assert_eq!(waited, (Duration::from_secs(3), Duration::ZERO));
}
