//! Tokens that the server fails on, while it answers about others.

use super::town::{Asked, Client, Peers, Reply, Settings, Town, fine, people, scaled};
use tower_introspect::verify::PeerKey;

fn permits() -> usize {
    Settings::default().permits
}

/// A server that answers poison at once in one way, and random tokens after `canary` seconds.
fn poisoned(reply: Reply, canary: f64) -> impl Fn(&Asked) -> (f64, Reply) {
    let well = fine(0.2);
    move |asked| match asked.kind.as_str() {
        "poison" => (0.02, reply),
        "hanging" => (2.9, Reply::Inactive),
        "canary" => (canary, Reply::Inactive),
        _ => well(asked),
    }
}

#[tokio::test(start_paused = true)]
async fn token_that_draws_an_error_is_no_outage_for_others() {
    for (reply, canary) in [
        (Reply::Status(500), 0.02),
        (Reply::Status(500), 0.9),
        (Reply::Status(500), 2.5),
        (Reply::Status(502), 0.02),
        (Reply::Status(503), 0.02),
        (Reply::Status(504), 0.02),
        (Reply::NoResponse, 0.02),
        (Reply::TooMany { retry_after: 3_600 }, 0.02),
        (Reply::Status(400), 0.02),
        (Reply::Status(401), 0.02),
        (Reply::Status(403), 0.02),
        (Reply::Status(404), 0.02),
        (Reply::InvalidClient, 0.02),
        (Reply::Html, 0.02),
    ] {
        let title = format!("{reply:?}, canary {canary} s");
        let mut town = Town::new(poisoned(reply, canary));
        town.ask(people(scaled(100_000), Peers::Own, 1), scaled(100), (0.0, 80.0), false);
        town.send_new("poison", 1.0, (20.0, 80.0), Some(1), 1);
        let report = town.run().await;
        report.check(&title, 0.01, permits());
        report.check_openings(&title, 0);
        assert_eq!(report.count("poison", "credentials_rejected"), 0, "{title}");
        assert_eq!(report.count("poison", "misconfigured"), 0, "{title}");
    }
}

#[tokio::test(start_paused = true)]
async fn token_that_the_server_calls_invalid_is_refused_with_401() {
    let mut town = Town::new(poisoned(Reply::InvalidToken, 0.02));
    town.ask(people(scaled(3_000), Peers::Own, 1), scaled(100), (0.0, 60.0), false);
    town.send_new("poison", 1.0, (20.0, 60.0), Some(1), 1);
    let report = town.run().await;
    report.check("invalid_token", 0.01, permits());
    assert!(report.count("poison", "inactive") >= 20);
    assert_eq!(report.count("poison", "inactive") + report.count("poison", "too_many"), 40);
}

#[tokio::test(start_paused = true)]
async fn token_at_fault_is_remembered_and_charged_to_its_peer() {
    let mut town = Town::new(poisoned(Reply::Status(403), 0.02));
    town.ask(people(scaled(3_000), Peers::Own, 1), scaled(100), (0.0, 60.0), false);
    let mallory = Client {
        token: "t0-poison-etc/passwd".to_owned(),
        peer: Some(PeerKey::new("mallory")),
        kind: "poison",
    };
    town.ask(vec![mallory], 50.0, (20.0, 30.0), true);
    let report = town.run().await;
    report.check("one token", 0.01, permits());
    assert_eq!(report.count("poison", "fails_on_token"), report.count("poison", ""));
    // It is remembered for five seconds.
    assert!(report.asked("poison") <= 3, "{}", report.asked("poison"));
}

/// Eight introspections of the attacker always hang until just before the timeout.
#[tokio::test(start_paused = true)]
async fn slow_tokens_beside_poison_harm_nobody() {
    for canary in [0.02, 0.9] {
        let mut town = Town::new(poisoned(Reply::Status(500), canary));
        town.ask(people(scaled(100_000), Peers::Own, 1), scaled(100), (0.0, 80.0), false);
        town.send_new("poison", 1.0, (20.0, 80.0), Some(1), 1);
        town.send_new("hanging", 0.7, (18.0, 80.0), Some(1), 1);
        let (title, report) = (format!("canary {canary} s"), town.run().await);
        report.check(&title, 0.02, permits());
        report.check_openings(&title, 0);
    }
}

/// The tokens are good at first, and fail for ever after. Without stale facts each opening of the
/// breaker would cost good requests.
#[tokio::test(start_paused = true)]
async fn three_accounts_of_an_attacker_open_no_breaker() {
    for reply in [Reply::TooMany { retry_after: 300 }, Reply::Status(500), Reply::NoResponse] {
        for judging in [true, false] {
            let well = fine(0.02);
            let server = move |asked: &Asked| match asked.kind.as_str() {
                "canary" if !judging => (0.02, Reply::Status(500)),
                "evil" if asked.at > 20.0 => (0.02, reply),
                _ => well(asked),
            };
            let settings = Settings { stale: 0.0, ..Settings::default() };
            let mut town = Town::with(server, settings);
            town.ask(people(scaled(3_000), Peers::Own, 1), scaled(300), (0.0, 80.0), false);
            let evil = |number| Client {
                token: format!("t0-evil-{number}"),
                peer: Some(PeerKey::new(("evil", number))),
                kind: "evil",
            };
            town.ask_live((0..3).map(evil).collect(), 6.0, (1.0, 80.0));
            let title = format!("{reply:?}, judging: {judging}");
            let report = town.run().await;
            report.check(&title, 0.02, permits());
            report.check_openings(&title, 0);
        }
    }
}
