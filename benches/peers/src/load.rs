//! Counts the requests to the authorization server.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::{runtime::Runtime, task::JoinSet};
use tower_introspect::test_util::{Endpoint, Fault};

use crate::{
    authority::{Authority, bearer},
    contenders::{Contender, US_OPAQUE, of_opaque},
    report::{Report, table},
};

const HERD: usize = 200;
const AGAIN: usize = 100;
/// The time that the server takes to respond.
const SLOW: Duration = Duration::from_millis(20);

pub fn load(runtime: &Runtime, authority: &Authority, report: &mut Report) {
    let (contenders, skipped) = runtime.block_on(of_opaque(authority));
    skipped.iter().for_each(|skipped| report.skip("load", skipped));
    let mut rows = Vec::new();
    for contender in &contenders {
        let (herd, status, taken) = runtime.block_on(herd(contender, authority));
        let (inactive, refusal) = runtime.block_on(inactive(contender, authority));
        if contender.name == US_OPAQUE {
            report.count(format!("herd_{HERD}_upstream_calls"), herd, "calls");
            report.count(format!("inactive_{AGAIN}_upstream_calls"), inactive, "calls");
        }
        let ms = format!("{} ms", taken.as_millis());
        let [herd, inactive] = [herd, inactive].map(|calls| calls.to_string());
        rows.push([contender.name.to_owned(), herd, status, ms, inactive, refusal]);
    }
    let title = format!(
        "calls to an authorization server that takes {} ms: {HERD} requests at once with one fresh \
         token, and {AGAIN} in turn with one that is not active",
        SLOW.as_millis()
    );
    table(&title, ["", "herd", "answers", "took", "inactive", "answers"], &rows);
}

async fn herd(contender: &Contender, authority: &Authority) -> (usize, String, Duration) {
    let token = bearer(&authority.opaque());
    authority.server.inject(Endpoint::Introspection, Fault::delay(SLOW));
    let before = authority.introspections();
    let start = Instant::now();
    let mut herd = JoinSet::new();
    for _ in 0..HERD {
        herd.spawn(contender.ask(&token));
    }
    let statuses = herd.join_all().await;
    let taken = start.elapsed();
    authority.server.clear(Endpoint::Introspection);
    (authority.introspections() - before, summary(&statuses), taken)
}

async fn inactive(contender: &Contender, authority: &Authority) -> (usize, String) {
    let token = bearer("this-token-was-never-given-out");
    let before = authority.introspections();
    let mut statuses = Vec::new();
    for _ in 0..AGAIN {
        statuses.push(contender.ask(&token).await);
    }
    (authority.introspections() - before, summary(&statuses))
}

/// The status, where all are one.
fn summary(statuses: &[StatusCode]) -> String {
    let (Some(first), Some(last)) = (statuses.iter().min(), statuses.iter().max()) else {
        return "none".to_owned();
    };
    if first == last { first.as_u16().to_string() } else { format!("{first} to {last}") }
}
