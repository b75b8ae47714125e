//! Many issuers on one host.

use super::town::{Asked, Client, Peers, Reply, Settings, Town, fine, people, scaled};
use tower_introspect::verify::PeerKey;

fn settings(stale: f64, tenants: usize) -> Settings {
    Settings { stale, tenants, ..Settings::default() }
}

/// Issuer 7 fails for all of its clients. An attacker poisons ten other issuers.
#[tokio::test(start_paused = true)]
async fn issuer_that_fails_does_not_harm_the_others_on_its_host() {
    const TENANTS: usize = 5_000;
    for reply in [
        Reply::InvalidClient,
        Reply::Status(404),
        Reply::Status(500),
        Reply::NoResponse,
        Reply::TooMany { retry_after: 60 },
    ] {
        let well = fine(0.02);
        let server = move |asked: &Asked| match asked.kind.as_str() {
            _ if asked.tenant == 7 && asked.at >= 40.0 => (0.02, reply),
            "poison" => (0.02, Reply::Status(500)),
            _ => well(asked),
        };
        let mut town = Town::with(server, settings(0.0, TENANTS));
        let others = people(5_000.0, Peers::Own, TENANTS);
        let others = others.into_iter().filter(|one| !one.token.starts_with("t7-")).collect();
        town.ask(others, scaled(300), (0.0, 80.0), false);
        let own = |number| Client {
            token: format!("t7-seven-{number}"),
            peer: Some(PeerKey::new(("seven", number))),
            kind: "seven",
        };
        town.ask((0..20).map(own).collect(), 5.0, (0.0, 80.0), false);
        // To the issuers 0 to 6, 8 and 9, and to the failing one.
        town.send_new("poison", 10.0 * 0.2, (30.0, 80.0), Some(10), 10);
        let report = town.run().await;
        let title = format!("{reply:?}");
        report.check(&title, 0.005, Settings::default().permits);
        assert_eq!(report.count("seven", "inactive"), 0, "{title}");
    }
}

#[tokio::test(start_paused = true)]
async fn host_that_fails_gets_one_canary_a_second_for_all_its_issuers() {
    const TENANTS: usize = 500;
    for reply in [
        Reply::Status(403),
        Reply::Status(502),
        Reply::NoResponse,
        Reply::NoConnection,
        Reply::Status(503),
    ] {
        let well = fine(0.02);
        let server = move |asked: &Asked| {
            if (100.0..160.0).contains(&asked.at) { (0.02, reply) } else { well(asked) }
        };
        let mut town = Town::with(server, settings(60.0, TENANTS));
        town.ask(people(scaled(3_000), Peers::Own, TENANTS), scaled(300), (0.0, 220.0), false);
        town.run().await.check(&format!("{reply:?}"), 0.02, Settings::default().permits);
    }
}
