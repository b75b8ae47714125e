//! The good requests that are lost beside attacks and outages, in Tokio's paused time.
//!
//! Good clients ask at a steady rate, in turn beside each attack and each outage. For each there is a
//! line with the share of good requests that were admitted, the time within which 99 % of them had
//! an answer, and the introspections that the authorization server received.
//!
//! Attacks that cost good clients nothing are left out, since there is no share to measure: forged
//! identifiers of issuers, requests that pass for gRPC, credentials that are left on a request, and
//! DPoP proofs beside tokens of another type. Tests prove those.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark may panic")]
#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::{net::Ipv6Addr, sync::Mutex};

use testing::random;
use tower_introspect::verify::PeerKey;

use self::town::{Asked, Client, Peers, Reply, Report, Settings, Town, away, fine, people};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/health/town.rs"]
mod town;

#[path = "hostile/requests.rs"]
mod requests;

/// Good clients: how many, and their requests a second.
const CLIENTS: f64 = 600.0;
const RATE: f64 = 60.0;

const REPLIES: [(&str, Reply); 10] = [
    ("no_connection", Reply::NoConnection),
    ("no_response", Reply::NoResponse),
    ("status_500", Reply::Status(500)),
    ("status_502", Reply::Status(502)),
    ("status_503", Reply::Status(503)),
    ("status_429", Reply::TooMany { retry_after: 3_600 }),
    ("status_403", Reply::Status(403)),
    ("status_404", Reply::Status(404)),
    ("html", Reply::Html),
    ("invalid_client", Reply::InvalidClient),
];

fn print(name: &str, report: &Report) {
    print_figures(name, 1.0 - report.lost(), report.time_of(0.99), report.calls());
}

fn print_figures(name: &str, share: f64, p99: f64, calls: usize) {
    println!("figure hostile_{name}_good_share {share:.4}");
    println!("figure hostile_{name}_good_p99_ms {:.0}", p99 * 1_000.0);
    println!("figure hostile_{name}_upstream_calls {calls}");
}

fn good(town: &mut Town, peers: Peers, until: f64) {
    town.ask(people(CLIENTS, peers, 1), RATE, (0.0, until), false);
}

async fn peace() {
    let mut town = Town::new(fine(0.02));
    good(&mut town, Peers::Own, 120.0);
    print("nothing", &town.run().await);
}

/// A thousand made-up tokens a second.
async fn floods() {
    for (name, peers, attackers) in [
        ("flood_peers_unknown", Peers::Unknown, None),
        ("flood_one_peer", Peers::Own, Some(1)),
        ("flood_200_peers", Peers::Own, Some(200)),
    ] {
        let mut town = Town::new(fine(0.02));
        good(&mut town, peers, 120.0);
        town.send_new("junk", 1_000.0, (40.0, 120.0), attackers, 1);
        print(name, &town.run().await);
    }
    let mut town = Town::new(fine(0.02));
    good(&mut town, Peers::Own, 120.0);
    town.send_from("junk", 1_000.0, (40.0, 120.0), 1, |number| {
        let network = (number % 12_000) as u16;
        let address = Ipv6Addr::new(0x2001, 0xdb8, 1, network, 0, 0, 0, 1);
        Some(PeerKey::address(address.into()))
    });
    print("flood_of_one_48", &town.run().await);
    let mut town = Town::with(fine(0.2), Settings { permits: 64, ..Settings::default() });
    good(&mut town, Peers::Own, 60.0);
    town.send_and_reset("junk", 10_000, 40.0);
    print("resets", &town.run().await);
}

/// One token a second that the server fails on.
async fn poison() {
    for (name, reply) in REPLIES {
        let well = fine(0.02);
        let server = move |asked: &Asked| {
            if asked.is("poison") { (0.02, reply) } else { well(asked) }
        };
        let mut town = Town::new(server);
        good(&mut town, Peers::Own, 120.0);
        town.send_new("poison", 1.0, (30.0, 120.0), Some(1), 1);
        print(&format!("poison_{name}"), &town.run().await);
    }
}

/// Three tokens of one attacker that were good once.
async fn accounts() {
    for (name, reply) in [("status_500", Reply::Status(500)), ("no_response", Reply::NoResponse)] {
        let well = fine(0.02);
        let server = move |asked: &Asked| {
            if asked.is("evil") && asked.at > 20.0 { (0.02, reply) } else { well(asked) }
        };
        let mut town = Town::with(server, Settings { stale: 0.0, ..Settings::default() });
        good(&mut town, Peers::Own, 120.0);
        let evil = |number| Client {
            token: format!("t0-evil-{number}"),
            peer: Some(PeerKey::new(("evil", number))),
            kind: "evil",
        };
        town.ask_live((0..3).map(evil).collect(), 6.0, (1.0, 120.0));
        print(&format!("accounts_{name}"), &town.run().await);
    }
}

/// Made-up tokens use up a quota of 20 introspections a second.
async fn quota() {
    let left = Mutex::new((0.0, 40.0));
    let well = fine(0.02);
    let server = move |asked: &Asked| {
        let mut left = left.lock().unwrap();
        let (at, count) = *left;
        let count: f64 = (count + (asked.at - at) * 20.0_f64).min(40.0);
        let refused = count < 1.0;
        *left = (asked.at, if refused { count } else { count - 1.0 });
        if refused { (0.01, Reply::TooMany { retry_after: 1 }) } else { well(asked) }
    };
    let mut town = Town::with(server, Settings { permits: 64, ..Settings::default() });
    town.ask(people(300.0, Peers::Unknown, 1), 100.0, (0.0, 200.0), false);
    town.send_new("junk", 100.0, (40.0, 200.0), None, 1);
    print("quota", &town.run().await);
}

async fn outages() {
    for (name, reply) in REPLIES {
        let mut town = Town::new(away(reply, 60.0, 120.0, |_| true));
        good(&mut town, Peers::Own, 150.0);
        print(&format!("outage_{name}"), &town.run().await);
        let mut town = Town::new(away(reply, 60.0, 120.0, |asked| asked.at as u64 % 2 == 1));
        good(&mut town, Peers::Own, 150.0);
        print(&format!("flapping_{name}"), &town.run().await);
    }
    let server = away(Reply::NoResponse, 60.0, 120.0, |asked| asked.is("good"));
    let mut town = Town::new(server);
    good(&mut town, Peers::Own, 150.0);
    town.send_new("junk", 2.0, (0.0, 150.0), Some(1), 1);
    print("hanging_storage", &town.run().await);
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(peace());
    // As a test, one situation is enough to show that it runs.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    runtime.block_on(async {
        floods().await;
        poison().await;
        accounts().await;
        quota().await;
        outages().await;
        requests::run(print_figures).await;
    });
}
