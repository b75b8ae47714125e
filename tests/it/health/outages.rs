//! The server is away, for some or for all.

use super::town::{Asked, Peers, Reply, Settings, Town, away, fine, people, scaled};

const ALL: [Reply; 7] = [
    Reply::NoConnection,
    Reply::NoResponse,
    Reply::Status(503),
    Reply::Status(502),
    Reply::Html,
    Reply::Status(403),
    Reply::InvalidClient,
];

fn settings(stale: f64) -> Settings {
    Settings { stale, ..Settings::default() }
}

fn permits() -> usize {
    Settings::default().permits
}

/// A server that is away, with or without canaries that can judge.
fn outage(
    reply: Reply,
    since: f64,
    until: f64,
    judging: bool,
) -> impl Fn(&Asked) -> (f64, Reply) + Send + Sync + 'static {
    let server = away(reply, since, until, |_| true);
    move |asked| {
        let connects = reply != Reply::NoConnection || !(since..until).contains(&asked.at);
        if asked.is("canary") && !judging && connects {
            (0.02, Reply::Status(500))
        } else {
            server(asked)
        }
    }
}

async fn total_outage(judging: bool) {
    for reply in ALL {
        let mut town = Town::with(outage(reply, 60.0, 120.0, judging), settings(60.0));
        town.ask(people(scaled(3_000), Peers::Own, 1), scaled(300), (0.0, 150.0), false);
        let report = town.run().await;
        let title = format!("{reply:?}, judging: {judging}");
        report.check(&title, 0.02, permits());
        let calls = report.calls_a_second(70, 120);
        assert!(calls <= (scaled(300) / 3.0).max(10.0), "{title}: {calls} calls a second");
        assert!(report.time_of(1.0) <= 7.0, "{title}: {} s", report.time_of(1.0));
    }
}

#[tokio::test(start_paused = true)]
async fn total_outage_is_bridged_by_stale_facts() {
    total_outage(true).await;
}

#[tokio::test(start_paused = true)]
async fn total_outage_is_bridged_where_canaries_never_worked() {
    total_outage(false).await;
}

#[tokio::test(start_paused = true)]
async fn total_outage_is_bridged_behind_a_load_balancer() {
    for reply in ALL {
        let mut town = Town::with(outage(reply, 60.0, 240.0, true), settings(300.0));
        town.ask(people(scaled(300), Peers::One, 1), scaled(50), (0.0, 270.0), false);
        let report = town.run().await;
        report.check(&format!("{reply:?}"), 0.02, permits());
        assert!(report.calls_a_second(70, 240) <= 10.0);
    }
}

#[tokio::test(start_paused = true)]
async fn total_outage_is_bridged_for_one_client_alone() {
    for reply in ALL {
        for judging in [true, false] {
            let mut town = Town::with(outage(reply, 60.0, 240.0, judging), settings(300.0));
            town.ask(people(1.0, Peers::Own, 1), 0.1, (0.0, 300.0), true);
            let report = town.run().await;
            report.check(&format!("{reply:?}, judging: {judging}"), 0.0, permits());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn outage_of_two_kinds_at_once_is_bridged() {
    let well = fine(0.02);
    let server = move |asked: &Asked| match asked.at {
        60.0..120.0 if asked.dice < 0.5 => (0.0, Reply::NoResponse),
        60.0..120.0 => (0.02, Reply::Status(503)),
        _ => well(asked),
    };
    let mut town = Town::new(server);
    town.ask(people(scaled(3_000), Peers::Own, 1), scaled(300), (0.0, 150.0), false);
    town.run().await.check("no response or 503", 0.02, permits());
}

/// Good tokens fail, made-up ones are answered at once: the storage behind the server hangs.
#[tokio::test(start_paused = true)]
async fn hanging_storage_is_bridged_although_made_up_tokens_are_answered() {
    for reply in [Reply::NoResponse, Reply::Status(500)] {
        for (title, count, rate, own_canary, lost) in [
            ("many clients", scaled(3_000), scaled(300), false, 0.02),
            ("many clients, own canary", scaled(3_000), scaled(300), true, 0.02),
            ("one client: a limit", 1.0, 1.0, false, 0.42),
            ("one client, own canary", 1.0, 1.0, true, 0.03),
        ] {
            let server = away(reply, 60.0, 120.0, |asked| asked.is("good") || asked.is("own"));
            let mut town = Town::with(server, Settings { own_canary, ..Settings::default() });
            town.ask(people(count, Peers::Own, 1), rate, (0.0, 150.0), false);
            town.send_new("junk", 2.0, (0.0, 150.0), Some(1), 1);
            let (title, report) = (format!("{reply:?}, {title}"), town.run().await);
            report.check(&title, lost, permits());
            report.check_openings(&title, 3);
        }
    }
}

/// A firewall learns to refuse random tokens, for ever. Good tokens are answered.
#[tokio::test(start_paused = true)]
async fn refusal_of_random_tokens_harms_no_good_ones() {
    for reply in [Reply::Status(403), Reply::Status(500), Reply::NoResponse] {
        let server = away(reply, 60.0, 1e9, |asked| asked.is("canary") || asked.is("junk"));
        let mut town = Town::with(server, settings(0.0));
        town.ask(people(scaled(3_000), Peers::Own, 1), scaled(300), (0.0, 150.0), false);
        town.send_new("junk", 2.0, (0.0, 150.0), Some(1), 1);
        town.run().await.check(&format!("{reply:?}"), 0.02, permits());
    }
}

/// The firewall, and after a while it blocks everyone for three minutes.
#[tokio::test(start_paused = true)]
async fn block_of_everyone_by_a_firewall_that_never_liked_random_tokens_is_bridged() {
    for reply in [Reply::Status(500), Reply::Html] {
        let well = fine(0.02);
        let server = move |asked: &Asked| match asked.kind.as_str() {
            _ if (60.0..240.0).contains(&asked.at) => (0.02, Reply::Status(403)),
            "canary" | "junk" => (0.02, reply),
            _ => well(asked),
        };
        let mut town = Town::with(server, settings(300.0));
        town.ask(people(scaled(1_000), Peers::Own, 1), scaled(100), (0.0, 270.0), false);
        town.send_new("junk", 2.0, (0.0, 270.0), Some(1), 1);
        town.run().await.check(&format!("{reply:?}"), 0.02, permits());
    }
}

async fn sometimes_down(down: fn(&Asked) -> bool, limit: f64) {
    for reply in [Reply::Status(503), Reply::Status(404), Reply::Status(502), Reply::NoResponse] {
        // Without stale facts, half of what must be verified then can't be: a limit.
        for (stale, lost) in [(60.0, 0.02), (0.0, limit)] {
            let mut town = Town::with(away(reply, 60.0, 120.0, down), settings(stale));
            town.ask(people(scaled(3_000), Peers::Own, 1), scaled(300), (0.0, 150.0), false);
            town.run().await.check(&format!("{reply:?}, stale {stale} s"), lost, permits());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn server_that_is_down_every_other_second_is_bridged() {
    sometimes_down(|asked| asked.at as u64 % 2 == 1, 0.2).await;
}

#[tokio::test(start_paused = true)]
async fn server_with_one_of_two_nodes_down_is_bridged() {
    sometimes_down(|asked| asked.dice < 0.5, 0.31).await;
}

#[tokio::test(start_paused = true)]
async fn one_of_five_nodes_that_answers_404_makes_no_good_token_bad() {
    let mut town = Town::new(away(Reply::Status(404), 60.0, 120.0, |asked| asked.dice < 0.2));
    town.ask(people(scaled(100_000), Peers::Own, 1), scaled(100), (0.0, 150.0), false);
    // A fifth can't be had meanwhile: a limit.
    town.run().await.check("new tokens", 0.2, permits());
}

#[tokio::test(start_paused = true)]
async fn some_failed_connections_cost_hardly_anything() {
    let server = away(Reply::NoConnection, 60.0, 120.0, |asked| asked.dice < 0.05);
    let mut town = Town::with(server, settings(0.0));
    town.ask(people(scaled(3_000), Peers::Own, 1), scaled(300), (0.0, 150.0), false);
    town.run().await.check("one in twenty", 0.02, permits());
}

#[tokio::test(start_paused = true)]
async fn one_second_of_failures_each_half_minute_costs_hardly_anything() {
    for reply in [Reply::Status(502), Reply::NoConnection, Reply::Status(404), Reply::Status(503)] {
        let server = away(reply, 60.0, 240.0, |asked| asked.at % 30.0 < 1.0);
        let mut town = Town::with(server, settings(0.0));
        town.ask(people(scaled(3_000), Peers::Own, 1), scaled(300), (0.0, 160.0), false);
        town.run().await.check(&format!("{reply:?}"), 0.02, permits());
    }
}
