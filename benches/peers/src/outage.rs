//! Measures the responses while the authorization server is away, and their times.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::runtime::Runtime;
use tower_introspect::test_util::{Endpoint, Fault};

use crate::{
    authority::{Authority, bearer},
    contenders::{Contender, US_OPAQUE, of_opaque},
    drive::Credentials,
    measure::{Lane, interleave},
    report::{Report, table},
};

/// The time that a client waits.
const PATIENCE: Duration = Duration::from_secs(5);
const BATCH: usize = 64;
const ROUNDS: usize = 400;

#[derive(Clone, Copy, Debug)]
enum Outage {
    Refused,
    Unavailable,
    Hang,
}

impl Outage {
    const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unavailable => "503",
            Self::Hang => "hang",
        }
    }

    async fn begin(self, authority: Authority) -> Option<Authority> {
        let fault = match self {
            Self::Refused => {
                authority.close();
                // Time for the connections to be closed.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return None;
            }
            Self::Unavailable => Fault::status(StatusCode::SERVICE_UNAVAILABLE),
            Self::Hang => Fault::hang(),
        };
        authority.server.inject(Endpoint::Introspection, fault);
        Some(authority)
    }
}

/// Each outage is one of another server, so that it has no consequences.
pub fn outages(runtime: &Runtime, _: &Authority, report: &mut Report) {
    let mut rows = Vec::new();
    for outage in [Outage::Refused, Outage::Unavailable, Outage::Hang] {
        runtime.block_on(outage_of_all(outage, report, &mut rows));
    }
    table(
        "while the authorization server is away, a token that is new, and one that was seen before",
        ["", "outage", "new", "after", "seen", "after"],
        &rows,
    );
    hit_in_a_hang(runtime, report);
}

async fn outage_of_all(outage: Outage, report: &mut Report, rows: &mut Vec<[String; 6]>) {
    let authority = Authority::start().await;
    let (contenders, skipped) = of_opaque(&authority).await;
    skipped.iter().for_each(|skipped| report.skip(outage.name(), skipped));
    let seen = bearer(&authority.opaque());
    for contender in &contenders {
        assert_eq!(contender.ask(&seen).await, StatusCode::OK, "it is good, and now seen");
    }
    let fresh: Vec<Credentials> = contenders.iter().map(|_| bearer(&authority.opaque())).collect();
    let authority = outage.begin(authority).await;
    for (contender, fresh) in contenders.iter().zip(&fresh) {
        let fresh = patiently(contender, fresh).await;
        let seen = patiently(contender, &seen).await;
        if contender.name == US_OPAQUE {
            for (kind, answer) in [("fresh", &fresh), ("cached", &seen)] {
                let name = format!("as_{}_{kind}", outage.name());
                report.count(format!("{name}_status"), &answer.status, "status");
                report.figure(format!("{name}_ms"), answer.after.as_secs_f64() * 1e3, "ms");
            }
        }
        let after = |answer: &Answer| format!("{:.1} ms", answer.after.as_secs_f64() * 1e3);
        let name = contender.name.to_owned();
        let (new, old) = (after(&fresh), after(&seen));
        rows.push([name, outage.name().to_owned(), fresh.status, new, seen.status, old]);
    }
    drop(authority);
}

struct Answer {
    status: String,
    after: Duration,
}

async fn patiently(contender: &Contender, credentials: &Credentials) -> Answer {
    let start = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, contender.ask(credentials)).await;
    let status = answer.map_or_else(
        |_| format!("no answer within {} s", PATIENCE.as_secs()),
        |status| status.as_u16().to_string(),
    );
    Answer { status, after: start.elapsed() }
}

/// A remembered token, while a question about another is under way that will not be answered,
/// beside the same in peace.
fn hit_in_a_hang(runtime: &Runtime, report: &mut Report) {
    let [peace, hang] = [(), ()].map(|()| runtime.block_on(Authority::start()));
    let [mut in_peace, mut in_hang] = [&peace, &hang].map(|authority| {
        let (contenders, _) = runtime.block_on(of_opaque(authority));
        let us = contenders.into_iter().find(|contender| contender.name == US_OPAQUE);
        us.expect("us is never skipped")
    });
    let [batch, hanging] =
        [&peace, &hang].map(|authority| vec![bearer(&authority.opaque()); BATCH]);
    for (contender, batch) in [(&mut in_peace, &batch), (&mut in_hang, &hanging)] {
        contender.time(runtime, batch, StatusCode::OK);
    }
    hang.server.inject(Endpoint::Introspection, Fault::hang());
    let pending = runtime.spawn(in_hang.ask(&bearer(&hang.opaque())));
    let mut lanes = [
        Lane::requests(runtime, &mut in_peace, &batch, StatusCode::OK),
        Lane::requests(runtime, &mut in_hang, &hanging, StatusCode::OK),
    ];
    let medians = interleave(&mut lanes, ROUNDS);
    assert!(!pending.is_finished(), "the other question was under way all the time");
    pending.abort();
    report.figure("as_hang_cached_over_hit", medians[1] / medians[0], "ratio");
}
