//! The same good token again and again, while others are remembered too.

use axum::http::StatusCode;
use tokio::runtime::Runtime;
use tower_introspect::jose::Algorithm;

use super::{Asked, BATCH, added, bare};
use crate::{
    authority::{Authority, bearer},
    contenders::of_jwts,
    drive::Credentials,
    report::{Report, nanos, table},
};

/// As many users as a small service has.
const OTHERS: usize = 1000;
const ROUNDS: usize = 200;

/// Those that remember JWTs: what a memory of answers costs does not depend on what they are about.
pub fn crowd(runtime: &Runtime, authority: &Authority, report: &mut Report) {
    let algorithm = Algorithm::ES256;
    let others: Vec<Credentials> = (0..OTHERS).map(|_| bearer(&authority.jwt(algorithm))).collect();
    let token = bearer(&authority.jwt(algorithm));
    let (mut contenders, _) = runtime.block_on(of_jwts(authority, algorithm, true));
    contenders.retain(|contender| contender.remembers);
    let mut asked: Vec<Asked> = contenders
        .into_iter()
        .map(|mut contender| {
            contender.time(runtime, &others, StatusCode::OK);
            Asked::new(contender, vec![token.clone(); BATCH], StatusCode::OK)
        })
        .collect();
    let mut bare = bare(&asked[0].batch);
    let (_, added, _) = added(runtime, &mut bare, &mut asked, None, ROUNDS);
    let rows = asked.iter().zip(&added);
    let rows: Vec<_> =
        rows.map(|(asked, added)| [asked.contender.name.to_owned(), nanos(*added)]).collect();
    table(&format!("hit: one ES256 token, with {OTHERS} others remembered"), ["", "added"], &rows);

    let us = asked.iter().zip(&added).find(|(asked, _)| asked.contender.is_us());
    let peers = asked.iter().zip(&added).filter(|(asked, _)| !asked.contender.is_us());
    let best = peers.map(|(_, added)| *added).min_by(f64::total_cmp);
    if let (Some((_, us)), Some(best)) = (us, best) {
        report.figure(format!("hit_among_{OTHERS}_best_peer_over_us"), best / us, "ratio");
    }
}
