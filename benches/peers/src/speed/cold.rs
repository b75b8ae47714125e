//! Every token verified in full.

use axum::http::StatusCode;
use tokio::runtime::Runtime;
use tower_introspect::jose::Algorithm;

use super::{Asked, added, bare};
use crate::{
    authority::{Authority, bearer},
    contenders::{US, of_jwts},
    drive::Credentials,
    measure::Lane,
    raw::Raw,
    report::{Report, nanos, table},
};

/// Different tokens, one after the other in each turn.
const TOKENS: usize = 32;
const ROUNDS: usize = 250;

pub fn cold(runtime: &Runtime, authority: &Authority, report: &mut Report) {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        one(runtime, authority, algorithm, report);
    }
}

fn one(runtime: &Runtime, authority: &Authority, algorithm: Algorithm, report: &mut Report) {
    let label = algorithm.as_str().to_lowercase();
    let tokens: Vec<String> = (0..TOKENS).map(|_| authority.jwt(algorithm)).collect();
    let batch: Vec<Credentials> = tokens.iter().map(|token| bearer(token)).collect();
    let (contenders, skipped) = runtime.block_on(of_jwts(authority, algorithm, false));
    skipped.iter().for_each(|skipped| report.skip(&format!("cold {label}"), skipped));
    let mut asked: Vec<Asked> = contenders
        .into_iter()
        .map(|contender| Asked::new(contender, batch.clone(), StatusCode::OK))
        .collect();
    let raw = Raw::new(authority, algorithm, &tokens);
    let lane = Lane::calls(TOKENS, |at| raw.verify(at));
    let (base, added, raw) = added(runtime, &mut bare(&batch), &mut asked, Some(lane), ROUNDS);
    let raw = raw.expect("there is a further lane");

    let us = asked.iter().position(|asked| asked.contender.name == US).map(|at| added[at]);
    let us = us.expect("us is never skipped");
    let row = |name: &str, taken: f64| {
        let (of_raw, of_us) = (format!("{:.2}", taken / raw), format!("{:.2}", taken / us));
        [name.to_owned(), nanos(taken), of_raw, of_us]
    };
    let mut rows = vec![row("raw signature", raw)];
    rows.extend(asked.iter().zip(&added).map(|(asked, added)| row(asked.contender.name, *added)));
    let title = format!("cold {}: verified in full, over {}", algorithm.as_str(), nanos(base));
    table(&title, ["", "added", "x raw", "x us"], &rows);

    report.figure(format!("cold_{label}_over_raw"), us / raw, "ratio");
    let peers = asked.iter().zip(&added).filter(|(asked, _)| !asked.contender.is_us());
    let best = peers.map(|(_, added)| *added).min_by(f64::total_cmp).unwrap_or(f64::NAN);
    report.figure(format!("cold_{label}_best_peer_over_us"), best / us, "ratio");
    report.figure(format!("cold_{label}_added"), us, "ns");
}
