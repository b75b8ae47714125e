//! No token, and something that is none.

use axum::http::StatusCode;
use tokio::runtime::Runtime;
use tower_introspect::jose::Algorithm;

use super::{Asked, BATCH, added, bare};
use crate::{
    authority::{Authority, bearer},
    contenders::{US, floor, of_jwts},
    drive::Credentials,
    report::{Report, nanos, table},
};

const ROUNDS: usize = 1000;

pub fn refusals(runtime: &Runtime, authority: &Authority, report: &mut Report) {
    // As long as a small token, and without a dot in it.
    let garbage = bearer(&"x".repeat(200));
    let none = one(runtime, authority, &None);
    let garbage = one(runtime, authority, &garbage);
    let rows: Vec<_> = none
        .iter()
        .zip(&garbage)
        .map(|(none, garbage)| {
            let status = |refused: &Refused| refused.status.as_u16().to_string();
            let name = none.name.to_owned();
            [name, nanos(none.added), status(none), nanos(garbage.added), status(garbage)]
        })
        .collect();
    table(
        "refusals, over a bare router that answers the same request",
        ["", "no token", "status", "garbage", "status"],
        &rows,
    );
    for (name, refused) in [("no_token", &none), ("garbage", &garbage)] {
        if let Some(us) = refused.iter().find(|refused| refused.name == US) {
            report.figure(format!("refuse_{name}_added_over_bare"), us.added, "ns");
        }
        let refusing = refused.iter().filter(|refused| refused.status.is_client_error());
        let peers = refusing.filter(|refused| refused.name != US);
        if let Some(best) = peers.map(|peer| peer.added).min_by(f64::total_cmp) {
            report.figure(format!("refuse_{name}_best_peer_added_over_bare"), best, "ns");
        }
    }
}

struct Refused {
    name: &'static str,
    added: f64,
    status: StatusCode,
}

fn one(runtime: &Runtime, authority: &Authority, credentials: &Credentials) -> Vec<Refused> {
    let (mut contenders, _) = runtime.block_on(of_jwts(authority, Algorithm::RS256, true));
    contenders.push(floor());
    let batch = vec![credentials.clone(); BATCH];
    let mut asked: Vec<Asked> = contenders
        .into_iter()
        .map(|contender| {
            let status = runtime.block_on(contender.ask(credentials));
            Asked::new(contender, batch.clone(), status)
        })
        .collect();
    let (_, added, _) = added(runtime, &mut bare(&batch), &mut asked, None, ROUNDS);
    let refused = asked.iter().zip(added).map(|(asked, added)| Refused {
        name: asked.contender.name,
        added,
        status: asked.expected,
    });
    // The floor lets all in: what it adds here is what axum takes for any layer.
    refused.collect()
}
