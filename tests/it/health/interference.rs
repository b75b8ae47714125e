//! A good token gets the same response whatever other clients send (promise 10).

use super::town::{Asked, Peers, Reply, Settings, Town, fine, people, random};

/// Everything that a bad token may draw from the server.
const REPLIES: [Reply; 12] = [
    Reply::Inactive,
    Reply::InvalidClient,
    Reply::InvalidToken,
    Reply::Html,
    Reply::NoResponse,
    Reply::Status(400),
    Reply::Status(403),
    Reply::Status(404),
    Reply::Status(500),
    Reply::Status(502),
    Reply::Status(503),
    Reply::TooMany { retry_after: 3_600 },
];

/// Returns what each good request got, in order, with bad requests of these kinds beside them: how
/// many a second, and from how many addresses.
async fn answers(seed: u64, bad: &[(&'static str, f64, usize)]) -> Vec<String> {
    let well = fine(0.02);
    let mut dice = seed;
    let draws = [(); 3].map(|()| REPLIES[(random(&mut dice) * REPLIES.len() as f64) as usize]);
    let server = move |asked: &Asked| match asked.kind.as_str() {
        "first" => (0.02, draws[0]),
        "second" => (0.02, draws[1]),
        "third" => (0.02, draws[2]),
        _ => well(asked),
    };
    let mut town = Town::with(server, Settings { permits: 16, ..Settings::default() });
    town.ask_in_turn(people(40.0, Peers::Own, 1), 20.0, (0.0, 60.0));
    for (kind, rate, peers) in bad {
        town.send_new(kind, *rate, (5.0, 55.0), Some(*peers), 1);
    }
    town.run().await.good_answers()
}

#[tokio::test(start_paused = true)]
async fn good_requests_get_the_same_answers_with_and_without_random_bad_ones() {
    for seed in 1..=12_u64 {
        let mut dice = seed << 40;
        let mut traffic = |kind| {
            let rate = 1.0 + 40.0 * random(&mut dice);
            (kind, rate, 1 + (random(&mut dice) * 3.0) as usize)
        };
        let bad = ["first", "second", "third"].map(&mut traffic);
        let alone = answers(seed, &[]).await;
        let beside = answers(seed, &bad).await;
        assert!(alone.iter().all(|answer| answer == "ok"), "seed {seed}");
        assert_eq!(alone, beside, "seed {seed}: {bad:?}");
    }
}
