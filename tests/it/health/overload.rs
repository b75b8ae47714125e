//! A quota of the server that made-up tokens use up.

use std::sync::Mutex;

use super::town::{Asked, Client, Peers, Reply, Settings, Town, fine, people};

/// A server with a quota by client, of `rate` introspections a second after a burst.
fn quota(
    rate: f64,
    burst: f64,
    retry_after: u32,
    server: impl Fn(&Asked) -> (f64, Reply),
) -> impl Fn(&Asked) -> (f64, Reply) {
    let left = Mutex::new((0.0, burst));
    move |asked| {
        let mut left = left.lock().unwrap();
        let (at, count) = *left;
        let count = (count + (asked.at - at) * rate).min(burst);
        let refused = count < 1.0;
        *left = (asked.at, if refused { count } else { count - 1.0 });
        drop(left);
        if refused { (0.01, Reply::TooMany { retry_after }) } else { server(asked) }
    }
}

fn settings(stale: f64) -> Settings {
    Settings { stale, permits: 64, ..Settings::default() }
}

/// Good misses 10 a second, made-up tokens 100 a second for 20 s.
#[tokio::test(start_paused = true)]
async fn burst_of_made_up_tokens_beyond_a_quota_costs_good_clients_two_percent_at_most() {
    for retry_after in [60, 300] {
        let mut town = Town::with(quota(20.0, 200.0, retry_after, fine(0.02)), settings(60.0));
        town.ask(people(300.0, Peers::Unknown, 1), 100.0, (0.0, 200.0), false);
        town.send_new("junk", 100.0, (40.0, 60.0), None, 1);
        town.run().await.check(&format!("Retry-After: {retry_after}"), 0.02, 64);
    }
}

#[tokio::test(start_paused = true)]
async fn made_up_tokens_beyond_a_quota_cost_good_clients_two_percent_at_most() {
    for junk in [12.0, 20.0, 40.0, 100.0] {
        for stale in [60.0, 0.0] {
            let mut town = Town::with(quota(20.0, 40.0, 1, fine(0.02)), settings(stale));
            town.ask(people(300.0, Peers::Unknown, 1), 100.0, (0.0, 200.0), false);
            town.send_new("junk", junk, (40.0, 200.0), None, 1);
            town.run().await.check(&format!("junk {junk}/s, stale {stale} s"), 0.02, 64);
        }
    }
}

/// A client whose token is revoked at 100 s uses up the quota with made-up tokens.
#[tokio::test(start_paused = true)]
async fn revoked_client_does_not_stay_in_by_using_up_the_quota() {
    for retry_after in [1, 60] {
        for junk in [20.0, 100.0, 1_000.0] {
            let well = fine(0.02);
            let server = move |asked: &Asked| match asked.kind.as_str() {
                "revoked" if asked.at >= 100.0 => (0.02, Reply::Inactive),
                _ => well(asked),
            };
            let server = quota(20.0, 40.0, retry_after, server);
            let mut town = Town::with(server, settings(300.0));
            town.ask(people(60.0, Peers::Unknown, 1), 20.0, (0.0, 250.0), false);
            let revoked = Client { token: "t0-revoked-0".to_owned(), peer: None, kind: "revoked" };
            town.ask(vec![revoked], 1.0, (1.0, 250.0), false);
            town.send_new("junk", junk, (99.0, 250.0), None, 1);
            let report = town.run().await;
            let title = format!("junk {junk}/s, Retry-After: {retry_after}");
            report.check(&title, 0.02, 64);
            let until = report.last_admitted("revoked") - 100.0;
            assert!(until <= 40.0, "{title}: admitted for {until} s after the revocation");
        }
    }
}

/// Requests beside which there are too many others are refused, not served from old facts.
#[tokio::test(start_paused = true)]
async fn flood_beside_each_request_does_not_keep_a_revoked_token_in() {
    let well = fine(0.02);
    let server = move |asked: &Asked| match asked.kind.as_str() {
        "revoked" if asked.at >= 60.0 => (0.02, Reply::Inactive),
        _ => well(asked),
    };
    let mut town = Town::with(server, settings(300.0));
    town.ask(people(60.0, Peers::Unknown, 1), 20.0, (0.0, 95.0), false);
    let revoked = Client { token: "t0-revoked-0".to_owned(), peer: None, kind: "revoked" };
    town.ask(vec![revoked], 5.0, (1.0, 95.0), false);
    town.send_new("junk", 5_000.0, (55.0, 95.0), None, 1);
    let report = town.run().await;
    report.check("flood", 0.02, 64);
    assert!(report.last_admitted("revoked") <= 92.0);
    assert_eq!(report.count("revoked", "stale"), 0);
}
