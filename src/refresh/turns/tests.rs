use tokio::time::{Instant, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A value that notes when its fetches begin.
struct Value {
    start: Instant,
    began: Mutex<Vec<u128>>,
    in_use: bool,
}

impl InTurn for Value {
    fn begin(self: Arc<Self>, _: bool) {
        self.began.lock().unwrap().push(self.start.elapsed().as_millis());
    }

    fn is_in_use(&self) -> bool {
        self.in_use
    }
}

/// The turns at a server, and some values that are fetched from it.
struct World {
    turns: Arc<Turns>,
    values: Vec<Arc<Value>>,
    places: Vec<Place>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a moment of paused time to count from")]
    fn new(values: usize) -> Self {
        let start = Instant::now();
        let value = |at| Arc::new(Value { start, began: Mutex::default(), in_use: at == 0 });
        let values = (0..values).map(value).collect();
        Self { turns: Arc::new(Turns::new()), values, places: Vec::new() }
    }

    fn weak(&self, value: usize) -> Weak<dyn InTurn> {
        let value: Arc<dyn InTurn> = Arc::clone(&self.values[value]) as _;
        Arc::downgrade(&value)
    }

    /// Has a request wait for a fetch of a value.
    fn ask(&mut self, value: usize, asker: Asker) {
        let weak = self.weak(value);
        self.places.extend(self.turns.take_place(&weak, asker, None, true));
        self.turns.line_up(&weak, Duration::ZERO, false);
    }

    /// Returns when the fetches of a value began, in milliseconds.
    fn began(&self, value: usize) -> Vec<u128> {
        self.values[value].began.lock().unwrap().clone()
    }
}

const MALLORY: Asker = Asker::Peer(0);
const HOME: Asker = Asker::Peer(1);

#[tokio::test(start_paused = true)]
async fn at_most_four_fetches_a_second_begin() {
    let mut world = World::new(9);
    for value in 0..9 {
        world.ask(value, Asker::UnknownPeer);
    }
    sleep(3 * SECOND).await;
    let began: Vec<_> = (0..9).flat_map(|value| world.began(value)).collect();
    let expected: Vec<_> = (0..9).map(|turn| turn * 250).collect();
    // In the order in which they were asked for.
    assert!(
        began.iter().zip(expected).all(|(at, expected)| at.abs_diff(expected) <= 8),
        "{began:?}"
    );
    assert_eq!(began.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn peers_take_turns_and_those_with_admitted_tokens_come_first() {
    let mut world = World::new(20);
    for value in 0..10 {
        world.ask(value, MALLORY);
    }
    world.ask(10, HOME);
    sleep(SECOND / 4).await;
    sleep(SECOND / 50).await;
    assert_eq!(world.began(10).len(), 1, "its turn was next");
    world.turns.note_admitted(HOME);
    for value in 11..14 {
        world.ask(value, HOME);
    }
    sleep(3 * SECOND / 4).await;
    let began: usize = (11..14).map(|value| world.began(value).len()).sum();
    assert_eq!(began, 3);
    let began: usize = (1..10).map(|value| world.began(value).len()).sum();
    assert_eq!(began, 0, "others have waited");
    // This service itself takes its turn, too.
    world.turns.line_up(&world.weak(14), Duration::ZERO, true);
    world.ask(15, HOME);
    world.ask(16, HOME);
    sleep(SECOND / 2 + SECOND / 50).await;
    assert_eq!((world.began(14).len(), world.began(15).len(), world.began(16).len()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_value_in_use_comes_before_another_of_the_same_peer() {
    let mut world = World::new(3);
    world.ask(1, MALLORY);
    world.ask(2, MALLORY);
    world.ask(0, MALLORY);
    sleep(SECOND / 2 + SECOND / 50).await;
    let [used, first, second] = [0, 1, 2].map(|value| world.began(value));
    assert!(first < used && used < second, "{first:?} {used:?} {second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_no_request_waits_for_any_more_is_left_out() {
    let mut world = World::new(3);
    for value in 0..3 {
        world.ask(value, MALLORY);
    }
    world.places.truncate(1);
    sleep(3 * SECOND).await;
    assert_eq!([0, 1, 2].map(|value| world.began(value).len()), [1, 0, 0]);
    world.places.clear();
    assert!(world.turns.line().queues.is_empty());
    assert_eq!(world.turns.line().task, None, "a task waits for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_dropped_is_forgotten() {
    let mut world = World::new(2);
    let gone = world.weak(1);
    world.turns.line_up(&gone, SECOND, true);
    world.values.pop();
    sleep(3 * SECOND).await;
    assert!(world.turns.line().queues.is_empty());
    world.ask(0, MALLORY);
    assert_eq!(world.began(0), [3000]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_fetch_waits_and_an_earlier_one_is_not_delayed_by_it() {
    let mut world = World::new(2);
    let late = world.weak(0);
    world.turns.line_up(&late, 5 * SECOND, true);
    sleep(SECOND).await;
    world.ask(1, MALLORY);
    sleep(SECOND / 50).await;
    assert_eq!((world.began(0), world.began(1)), (vec![], vec![1000]));
    world.turns.line_up(&late, SECOND, true);
    sleep(SECOND + SECOND / 50).await;
    assert!(world.began(0)[0].abs_diff(2020) <= 8, "{:?}", world.began(0));
    sleep(10 * SECOND).await;
    assert_eq!(world.began(0).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_served_to_admit_a_token_does_not_count() {
    let mut world = World::new(20);
    for value in 0..20 {
        world.ask(value, MALLORY);
    }
    for value in 0..10 {
        assert_eq!(world.began(value), [0]);
        world.turns.give_back(&world.weak(value));
        // Once for each fetch, and only for the last one.
        world.turns.give_back(&world.weak(value));
        world.turns.give_back(&world.weak(19));
    }
    sleep(SECOND / 2 + SECOND / 50).await;
    let began: usize = (0..20).map(|value| world.began(value).len()).sum();
    assert_eq!(began, 10 + 3);
}

#[test]
fn another_task_takes_over_from_that_of_a_runtime_that_ended() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let mut world = runtime().unwrap().block_on(async {
        let mut world = World::new(4);
        (0..3).for_each(|value| world.ask(value, MALLORY));
        world
    });
    assert_eq!(world.began(1).len(), 0);
    runtime().unwrap().block_on(async {
        world.ask(3, MALLORY);
        sleep(2 * SECOND).await;
    });
    assert_eq!([0, 1, 2, 3].map(|value| world.began(value).len()), [1; 4]);
}
