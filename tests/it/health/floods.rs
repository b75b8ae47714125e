//! Made-up tokens, many misses, and one token that is asked about too often.

use super::town::{Peers, Settings, Town, fine, people, scaled};

fn permits() -> usize {
    Settings::default().permits
}

#[tokio::test(start_paused = true)]
async fn flood_of_made_up_tokens_costs_good_clients_one_percent_at_most() {
    for (title, peers, attackers, calls) in [
        ("peers unknown", Peers::Unknown, None, 1_900),
        ("1 attacker", Peers::Own, Some(1), 400),
        ("40 attackers", Peers::Own, Some(40), 400),
        ("200 attackers", Peers::Own, Some(40 * 5), 400),
    ] {
        let mut town = Town::new(fine(0.02));
        town.ask(people(scaled(3_000), peers, 1), scaled(300), (0.0, 70.0), false);
        town.send_new("junk", scaled(5_000), (40.0, 70.0), attackers, 1);
        let report = town.run().await;
        report.check(title, 0.01, permits());
        report.check_openings(title, 0);
        // Each attacker may cause 20 at once and one a second.
        let burst = attackers.map_or(0.0, |attackers| attackers as f64 * (20.0 + 15.0) / 15.0);
        let seen = report.calls_a_second(55, 70);
        assert!(seen <= scaled(calls) + burst, "{title}: {seen} calls a second");
    }
}

/// No token is known to be good yet. Where peers are unknown, there are no shares.
#[tokio::test(start_paused = true)]
async fn start_amid_a_flood_is_survived_where_peers_are_known() {
    for (title, peers, attackers, lost) in [
        ("40 attackers", Peers::Own, Some(8), 0.01),
        ("200 attackers: a limit, their first 20 each", Peers::Own, Some(40), 0.04),
        ("peers unknown: a limit", Peers::Unknown, None, 0.5),
    ] {
        let mut town = Town::new(fine(0.02));
        town.ask(people(scaled(3_000), peers, 1), scaled(300), (0.0, 60.0), false);
        town.send_new("junk", scaled(5_000), (0.0, 60.0), attackers, 1);
        let report = town.run().await;
        report.check(title, lost, permits());
        report.check_openings(title, 0);
    }
}

/// 300 misses a second at 200 ms need 60 permits.
#[tokio::test(start_paused = true)]
async fn many_misses_of_good_clients_are_no_attack() {
    for peers in [Peers::Own, Peers::Unknown] {
        let settings = Settings { permits: 64, ..Settings::default() };
        let mut town = Town::with(fine(0.2), settings);
        town.ask(people(100_000.0, peers, 1), 300.0, (0.0, 40.0), false);
        let (title, report) = (format!("new tokens, {peers:?}"), town.run().await);
        report.check(&title, 0.02, 64);
        report.check_openings(&title, 0);
    }
}

/// All come once within half a minute, and then at random, when their facts are too old.
#[tokio::test(start_paused = true)]
async fn many_returning_tokens_are_no_attack() {
    for peers in [Peers::Own, Peers::Unknown] {
        let settings = Settings { permits: 32, ..Settings::default() };
        let mut town = Town::with(fine(0.2), settings);
        let clients = people(4_750.0, peers, 1);
        town.ask_in_turn(clients.clone(), 115.0, (0.0, 42.0));
        town.ask(clients, 400.0, (42.0, 80.0), false);
        let (title, report) = (format!("returning tokens, {peers:?}"), town.run().await);
        report.check(&title, 0.02, 32);
        report.check_openings(&title, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_token_with_live_requests_is_asked_about_without_a_pause_and_no_more() {
    let mut town = Town::new(fine(0.02));
    town.ask(people(scaled(3_000), Peers::Own, 1), scaled(300), (0.0, 60.0), false);
    let eager = super::town::Client {
        token: "t0-eager-0".to_owned(),
        peer: Some(tower_introspect::verify::PeerKey::new("eager")),
        kind: "eager",
    };
    town.ask_live(vec![eager], scaled(2_000), (10.0, 60.0));
    let report = town.run().await;
    report.check("one token", 0.01, permits());
    report.check_openings("one token", 0);
    // One flight after the other, each of 20 ms.
    let seen = report.calls_a_second(35, 60);
    assert!(seen <= 50.0 + scaled(110), "{seen} calls a second");
}

#[tokio::test(start_paused = true)]
async fn herd_that_arrives_with_the_answer_causes_one_introspection() {
    let mut town = Town::new(fine(0.02));
    town.ask(people(1.0, Peers::Own, 1), scaled(10_000), (1.0, 3.0), false);
    let report = town.run().await;
    report.check("one token", 0.0, permits());
    // The introspection and the first canary.
    assert_eq!(report.calls(), 2);
}

/// Requests that are reset right after they were sent.
#[tokio::test(start_paused = true)]
async fn clients_that_go_away_leave_at_most_the_permits_under_way() {
    let settings = Settings { permits: 64, ..Settings::default() };
    let mut town = Town::with(fine(1.0), settings);
    town.ask(people(100.0, Peers::Own, 1), 20.0, (0.0, 30.0), false);
    town.send_and_reset("junk", 10_000, 10.0);
    let report = town.run().await;
    report.check("10,000 resets", 0.01, 64);
    assert!(report.asked("junk") <= 64, "{} were asked about", report.asked("junk"));
}
